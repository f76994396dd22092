"""Filters of a query, for decoded entries and for undecoded lines of an archive."""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from otp_service.audit.query.client_ip_filter import ClientIpFilter, parse_client_ip_filter
from otp_service.audit.query.criteria import EventCriteria
from otp_service.core.log_entry import (
    MAX_JSON_BRACKETS,
    Entry,
    create_bounded_decoder,
    decode_stamp,
)


CRITERIA_NAMES: Final = frozenset(EventCriteria.__struct_fields__) - {"since", "until"}


class EventFilter(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Matches the events that equal every filter that is set."""

    tenant: str | None = None
    number_pseudonyms: frozenset[str] | None = None
    """The pseudonyms of one number, one under each key."""
    account_pseudonyms: frozenset[str] | None = None
    """The pseudonyms of one account, likewise."""
    pseudonym: str | None = None
    """The pseudonym of a number, an account, a prefix or an operator block."""
    type: str | None = None
    """One type, or several with commas between them."""
    event_reason: str | None = None
    event_limit: str | None = None
    """The limit that refused, or by which record mode would have refused."""
    challenge: str | None = None
    country: str | None = None
    provider: str | None = None
    client_ip: ClientIpFilter | None = None
    client_ip_changed: bool | None = None

    def matches(self, entry: Entry) -> bool:
        """Whether the event matches; an unreadable one matches only where no filter is set."""
        if self == _MATCH_ALL:
            return True
        try:
            fields = _decode_fields(entry.event)
            return self._matches_fields(fields) and self._matches_refusal(fields, entry.stamp)
        except msgspec.MsgspecError:
            return False

    def can_match(self, text: bytes) -> bool:
        """Whether one of these lines may match; ten times as quick as decoding them."""
        for words in self._required_words:
            for word in words:
                if word in text:
                    break
            else:
                return False
        return True

    def _matches_fields(self, fields: "FilterFields") -> bool:
        return (
            (self._types is None or fields.type in self._types)
            and self.tenant in {None, fields.tenant}
            and self.challenge in {None, fields.challenge}
            and self.country in {None, fields.country}
            and self.provider in {None, fields.provider}
            and self.client_ip_changed in {None, fields.client_ip_changed}
            and (self.client_ip is None or self.client_ip.matches(fields.client_ip))
            and self.pseudonym in {None, fields.number, fields.account, fields.prefix, fields.block}
            and (self.number_pseudonyms is None or fields.number in self.number_pseudonyms)
            and (self.account_pseudonyms is None or fields.account in self.account_pseudonyms)
        )

    def _matches_refusal(self, fields: "FilterFields", stamp: bytes) -> bool:
        """Compare what Redis has stamped on a refusal, or else the members of the event."""
        if self.event_reason is None and self.event_limit is None:
            return True
        stamped = decode_stamp(stamp)
        limits = {None, stamped.get("limit", fields.limit), fields.over_limit}
        return self.event_limit in limits and self.event_reason in {
            None,
            stamped.get("reason", fields.reason),
        }

    @cached_property
    def _types(self) -> frozenset[str] | None:
        return None if self.type is None else frozenset(self.type.split(","))

    @cached_property
    def _required_words(self) -> list[list[bytes]]:
        """The strings of a matching line: one of each list. The rarest come first."""
        values = (self.number_pseudonyms, self.account_pseudonyms, self.pseudonym, self.challenge)
        words = [_encode_strings(value) for value in values if value is not None]
        if self.client_ip:
            words.append(self.client_ip.required_words)
        if self.client_ip_changed is not None:
            words.append([b'"client_ip_changed":' + msgspec.json.encode(self.client_ip_changed)])
        others = (
            *(self._types, self.event_limit, self.event_reason),
            *(self.provider, self.country, self.tenant),
        )
        return words + [_encode_strings(value) for value in others if value is not None]


def build_event_filter(
    criteria: Mapping[str, Any],
    *,
    number_pseudonyms: frozenset[str] | None = None,
    account_pseudonyms: frozenset[str] | None = None,
) -> EventFilter:
    """Return the filter of these criteria, without period.

    Raises InvalidRequest for an invalid `client_ip`.
    """
    address = criteria.get("client_ip")
    client_ip = None if address is None else parse_client_ip_filter(address)
    return EventFilter(
        number_pseudonyms=number_pseudonyms,
        account_pseudonyms=account_pseudonyms,
        **{**criteria, "client_ip": client_ip},
    )


class FilterFields(msgspec.Struct, frozen=True):
    """The members of an event that filters compare."""

    type: str
    tenant: str | None = None
    number: str | None = None
    account: str | None = None
    prefix: str | None = None
    block: str | None = None
    challenge: str | None = None
    country: str | None = None
    provider: str | None = None
    reason: str | None = None
    limit: str | None = None
    over_limit: str | None = None
    client_ip: str | None = None
    client_ip_changed: bool | None = None


def _encode_strings(values: str | Collection[str]) -> list[bytes]:
    """Return the texts as they are inside a line."""
    texts: Any = (values,) if isinstance(values, str) else values
    return [msgspec.json.encode(text)[1:-1] for text in texts]


_MATCH_ALL = EventFilter()

_decode_fields = create_bounded_decoder(FilterFields, MAX_JSON_BRACKETS)
