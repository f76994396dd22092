"""Which events are wanted, of those that Redis has and of the lines of an archive."""

from functools import cached_property

import msgspec

from otp_service.core.log_entry import MAX_JSON_BRACKETS, Entry, create_bounded_decoder


class EventFilter(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All events that agree with everything that is not None."""

    tenant: str | None = None
    number_pseudonyms: frozenset[str] | None = None
    """The pseudonyms of one number, under each key that there is."""
    type: str | None = None
    challenge: str | None = None
    address: str | None = None
    """The person's, as events hold it."""

    def matches(self, entry: Entry) -> bool:
        """Whether the event agrees; one that cannot be read does so only with no filter at all."""
        if self == _MATCH_ALL:
            return True
        try:
            facts = _decode_fields(entry.event)
        except msgspec.MsgspecError:
            return False
        return (
            self.tenant in {None, facts.tenant}
            and self.type in {None, facts.type}
            and self.challenge in {None, facts.challenge}
            and self.address in {None, facts.client_address}
            and (self.number_pseudonyms is None or facts.number in self.number_pseudonyms)
        )

    def can_match(self, text: bytes) -> bool:
        """Whether one of these lines may agree; a glance, ten times as quick as reading them."""
        for words in self._required_words:
            for word in words:
                if word in text:
                    break
            else:
                return False
        return True

    @cached_property
    def _required_words(self) -> list[list[bytes]]:
        """What the line has to hold: one of each of these. The rarest come first."""
        values = (self.challenge, self.address, self.type, self.tenant)
        words = [[_encode_string(value)] for value in values if value is not None]
        if self.number_pseudonyms is not None:
            words.insert(0, [_encode_string(number) for number in self.number_pseudonyms])
        return words


class FilterFields(msgspec.Struct, frozen=True):
    """What of an event is filtered by."""

    type: str
    tenant: str | None = None
    number: str | None = None
    challenge: str | None = None
    client_address: str | None = None


def _encode_string(value: str) -> bytes:
    return msgspec.json.encode(value)[1:-1]


_MATCH_ALL = EventFilter()

_decode_fields = create_bounded_decoder(FilterFields, MAX_JSON_BRACKETS)
