"""Events of messages from phones and of what they changed, and of the export of the do-not-send list.

`tenant` is that of the opt-out; it is absent where the opt-out is for all tenants.
"""

from otp_service.core.events.event import Event, build_explicit_default


class KeywordReceived(Event, frozen=True, kw_only=True):
    """What these events share; no event type of its own. None of them has the text of the message."""

    provider: str | None = None
    """The provider that passed the message on; absent for an import that does not name it."""
    own_number: str | None = None
    """Our number that the person answered: letters and digits, at most 20 of them."""
    keyword: str | None = None
    """`stop`, `start` or `help`; absent for an import."""


class NumberOptedOut(KeywordReceived, frozen=True, tag="number.opted_out", kw_only=True):
    """A person answered STOP, or a command imported an opt-out: nothing is sent to the number."""

    by: str | None = None
    """The user of the machine where the import ran."""


class NumberOptedIn(KeywordReceived, frozen=True, tag="number.opted_in", kw_only=True):
    """A person answered START, which lifted the opt-out; an operator's block stays."""


class HelpRequested(KeywordReceived, frozen=True, tag="number.help_requested", kw_only=True):
    """A person answered HELP, which changes nothing and is not answered."""


class DoNotSendListExported(Event, frozen=True, tag="number.exported", kw_only=True):
    """The command line wrote the numbers of the do-not-send list in the clear."""

    count: int = build_explicit_default(0)
    by: str | None = None
    """The user of the machine where the command ran."""
