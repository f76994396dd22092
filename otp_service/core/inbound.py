"""Messages from phones: what a provider passes on, and the keywords that have an effect.

The text is personal data, and may hold a code that was typed to the wrong place: it is compared with the
keywords and dropped. It is never stored, logged or put into an event.
"""

from enum import StrEnum

import msgspec


class Keyword(StrEnum):
    """What a whole message can mean; every other message has no effect."""

    STOP = "stop"
    """Puts the number on the do-not-send list."""
    START = "start"
    """Lifts what a STOP has set."""
    HELP = "help"
    """Is an event, and changes nothing."""


class InboundMessage(msgspec.Struct, frozen=True):
    """A message from a phone, parsed by the dialect of its provider. Its `repr` omits the fields."""

    sender: str
    """The number of the phone as the provider writes it: digits, mostly without a plus."""
    text: str
    receiver: str = ""
    """Our number that the person answered, as the provider writes it; empty if it does not say."""
    id: str = ""
    """The provider's id of the message, for repeats; empty without one."""
    is_signed: bool = False
    """Whether the provider has signed it, so that no other party can have sent it."""

    def __repr__(self) -> str:
        return f"InboundMessage({len(self.text)} characters)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("id", self.id)]  # msgspec's own would show the fields


class InboundResult(StrEnum):
    """What came of a message: the `result` of the metric `otp_inbound_messages_total`.

    Only OPTED_OUT, OPTED_IN and HELP write anything: an event, in one commit with its change.
    """

    OPTED_OUT = "opted_out"
    OPTED_IN = "opted_in"
    HELP = "help"
    UNCHANGED = "unchanged"
    """It repeats what is already so, or is a START of a number without an opt-out."""
    OTHER = "other"
    """It is no keyword."""
    UNEXPECTED = "unexpected"
    """A keyword of a number to which this provider submitted nothing in 30 days: maybe forged."""
    INVALID_SENDER = "invalid_sender"
    """A keyword of a sender that is no number of a person, such as a short code."""


FORGERY_RESULTS = (InboundResult.UNEXPECTED, InboundResult.INVALID_SENDER)
"""They write nothing each, and are counted over a minute in one event (`callback.rejected`)."""
