"""The filters of a search as data: a finding names its events, and a page or a command finds them."""

from typing import Any

import msgspec


class EventCriteria(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The filters that name no person. Each field has the name of the filter everywhere.

    The page's form, `POST /v1/audit/search`, `EventQuery` and, with hyphens, the options of
    `audit search` and `audit export` have the same names.
    """

    type: str | None = None
    """One type, or several with commas between them."""
    event_reason: str | None = None
    """The member `reason` of events."""
    event_limit: str | None = None
    """The limit that refused, or by which record mode would have refused: `limit` or `over_limit`."""
    tenant: str | None = None
    challenge: str | None = None
    pseudonym: str | None = None
    """Of a number, an account, a prefix or an operator block."""
    country: str | None = None
    provider: str | None = None
    client_ip: str | None = None
    """An address, which finds those of its /64 if it is IPv6, or that network."""
    client_ip_changed: bool | None = None
    since: int | None = None
    """Inclusive, in milliseconds since 1970; with `until`, exclusive, an hour of the period."""
    until: int | None = None

    def to_filters(self) -> dict[str, Any]:
        """Return the filters that are set, for `EventQuery`."""
        fields = msgspec.structs.asdict(self).items()
        return {name: value for name, value in fields if value is not None}
