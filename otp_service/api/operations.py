"""The contract's table of calls, for the API's description: what each takes, gives and refuses."""

from typing import Final, NamedTuple

import msgspec

from otp_service import wire
from otp_service.core.tenant import Scope


ABOUT: Final = """\
Issues one-time codes to phone numbers, and says once whether the code that came back is right.

On verify, 2xx means verified, and nothing else does. Keep the challenge's id in the server-side
session of the user, pass `account`, and make a fresh `Idempotency-Key` for every try, never from
what a browser sent. Problems tell the reason to you, a back end; show your own users one message.

Every answer has `Cache-Control: no-store`; every error is `application/problem+json` (RFC 9457).
What is wrong is looked for in this order: 401, 403 forbidden, 413, 415, 400, 404, 410, 403
number-locked, 400 malformed-code, 409, 503 overloaded, 429. A `traceparent` header (W3C) names
the trace in the audit log.
"""

CALL: Final = (
    *("unauthenticated", "forbidden", "content-too-large", "unsupported-media-type"),
    *("invalid-request", "overloaded", "store-unavailable", "internal-error"),
)
"""What every call under /v1 may be refused for."""
ONE: Final = ("challenge-not-found", "not-found", "method-not-allowed")
"""What a path with an id in it may meet; an id with a slash in it is another path."""
ENDED: Final = (
    *("challenge-expired", "challenge-locked", "challenge-canceled"),
    "challenge-already-verified",
)
SENDING: Final = (
    *("number-locked", "number-not-allowed", "undeliverable", "rate-limited", "delivery-failed"),
    *("idempotency-key-in-use", "idempotency-key-reused"),
)
NUMBER: Final = ("invalid-phone-number", "number-not-allowed")


class Operation(NamedTuple):
    """One call."""

    name: str
    method: str
    path: str
    summary: str
    scopes: tuple[Scope, ...]
    """Any of them will do."""
    problems: tuple[str, ...]
    ask: type[msgspec.Struct] | None = None
    status: int = 200
    answer: type[msgspec.Struct] | None = wire.ChallengeView
    takes_key: bool = False


_CHALLENGES: Final = (Scope.CHALLENGES,)
_AUDIT: Final = (Scope.AUDIT, Scope.AUDIT_ALL)

OPERATIONS: Final = (
    Operation(
        *("issue", "post", "/v1/challenges", "Send a code to a number", _CHALLENGES),
        (*CALL, *SENDING, "invalid-phone-number"),
        ask=wire.IssueRequest,
        status=201,
        takes_key=True,
    ),
    Operation(
        *("view", "get", "/v1/challenges/{challenge_id}", "Show a challenge", _CHALLENGES),
        (*CALL, *ONE),
    ),
    Operation(
        *("cancel", "delete", "/v1/challenges/{challenge_id}", "End a challenge", _CHALLENGES),
        (*CALL, *ONE, "challenge-expired", "challenge-locked", "challenge-already-verified"),
        status=204,
        answer=None,
    ),
    Operation(
        *("verify", "post", "/v1/challenges/{challenge_id}/verify", "Try a code", _CHALLENGES),
        (*CALL, *ONE, *ENDED, "number-locked", "malformed-code", "incorrect-code", "rate-limited"),
        ask=wire.VerifyRequest,
        takes_key=True,
    ),
    Operation(
        *("resend", "post", "/v1/challenges/{challenge_id}/resend", "Send another code"),
        *(_CHALLENGES, (*CALL, *ONE, *ENDED, *SENDING, "sends-exhausted")),
        ask=wire.Nothing,
        takes_key=True,
    ),
    Operation(
        *("unlock", "post", "/v1/numbers/unlock", "End a number's rows of failures"),
        *((Scope.OPERATOR,), (*CALL, *NUMBER)),
        ask=wire.UnlockRequest,
        status=204,
        answer=None,
    ),
    Operation(
        *("events", "get", "/v1/audit/events", "What happened, newest first", _AUDIT, CALL),
        answer=wire.AuditPage,
    ),
    Operation(
        *("search", "post", "/v1/audit/search", "What happened, also to one number", _AUDIT),
        (*CALL, *NUMBER),
        ask=wire.AuditSearch,
        answer=wire.AuditPage,
    ),
    Operation(
        *("live", "get", "/health/live", "Whether the process serves", (), ()),
        answer=wire.Health,
    ),
    Operation(
        *("ready", "get", "/health/ready", "Whether requests should be sent here", ()),
        ("overloaded", "store-unavailable"),
        answer=wire.Health,
    ),
)
