"""The search of events: its filters, and a page of results."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from otp_service.core.challenge import CHALLENGE_OR_DELIVERY_ID
from otp_service.core.value_rule import build_rule
from otp_service.schemas.members import CHALLENGE_ID_RULE, Account, PhoneNumberText


Timestamp = Annotated[
    datetime,
    Meta(
        tz=True,
        extra=build_rule("must be a time with its zone, like 2026-11-22T00:00:00Z"),
        description="RFC 3339.",
        examples=["2026-11-22T00:00:00Z"],
    ),
]


Pseudonym = Annotated[
    str,
    Meta(
        max_length=128,
        description="The pseudonym of a number, an account, a prefix or an operator block, as events have it.",
        examples=["p1:7d793037a0760186574b0282f2f435e7"],
    ),
]
ClientIpOrNetwork = Annotated[
    str,
    Meta(
        max_length=48,
        description="The address of the user's device. An IPv6 address finds those of its /64.",
        examples=["203.0.113.9", "2001:db8:1:2::/64"],
    ),
]


ClientIpChanged = Annotated[
    bool,
    Meta(
        description="Whether the code came from another client IP than the challenge was issued for."
    ),
]
EventReason = Annotated[
    str,
    Meta(max_length=64, description="The `reason` of the events.", examples=["attempts_exhausted"]),
]
EventLimit = Annotated[
    str,
    Meta(
        max_length=64,
        description="The limit that refused, or by which the brake would have refused in record mode.",
        examples=["UnverifiedPerRange"],
    ),
]
EventCountry = Annotated[
    str, Meta(max_length=3, description="The region of the number.", examples=["GB"])
]
EventProvider = Annotated[
    str,
    Meta(
        max_length=64,
        description="The provider of the message, the receipt or the callback.",
        examples=["twilio"],
    ),
]
EventTypes = Annotated[
    str,
    Meta(
        max_length=200,
        description="One event type, or several with commas between them.",
        examples=["otp.verified", "otp.rejected,otp.locked"],
    ),
]


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters of events, which are returned newest first."""

    since: (
        Annotated[Timestamp, Meta(description="The first instant, inclusive. RFC 3339.")] | None
    ) = None
    until: (
        Annotated[Timestamp, Meta(description="The last instant, exclusive. RFC 3339.")] | None
    ) = None
    type: EventTypes | None = None
    challenge: (
        Annotated[
            str,
            Meta(
                pattern=rf"^{CHALLENGE_OR_DELIVERY_ID.pattern}\Z",
                extra=build_rule(CHALLENGE_ID_RULE),
                description="The id of a challenge.",
                examples=["c07-5d41402abc4b2a76b9719d911017c592"],
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="The most events of a page.")] = 100
    cursor: (
        Annotated[str, Meta(max_length=4096, description="`next` of the page before.")] | None
    ) = None


class AuditSearch(AuditQuery, frozen=True, forbid_unknown_fields=True):
    """More filters, among them a phone number and an account, which must not appear in a URL.

    Events must match every filter that is given.
    """

    phone_number: PhoneNumberText | None = None
    account: Account | None = None
    pseudonym: Pseudonym | None = None
    client_ip: ClientIpOrNetwork | None = None
    client_ip_changed: ClientIpChanged | None = None
    event_reason: EventReason | None = None
    event_limit: EventLimit | None = None
    country: EventCountry | None = None
    provider: EventProvider | None = None


class AuditPage(msgspec.Struct, frozen=True):
    """Events, and the cursor of the next page; `next` is null at the end."""

    events: list[dict[str, Any]]
    next: str | None
