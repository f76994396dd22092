"""The protocol of a call without I/O: what is sent, what is repeated, and what the reply means.

`run_call` is a generator. It yields a request to send, or a pause to make, and is sent what came back;
it returns the result or raises an exception of `errors`. Both clients run it.
"""

import json
import re
from collections.abc import Generator, Mapping
from http import HTTPStatus
from types import NoneType
from typing import ClassVar, Final, TypeAlias, TypeVar, cast
from urllib.parse import urlencode

import msgspec

from otp_service_client.calls import Call
from otp_service_client.errors import (
    PROBLEM_CLASSES,
    ChallengeNotFound,
    IdempotencyKeyInUse,
    NotFound,
    OtpServiceError,
    RequestRefused,
    ServiceFailed,
    ServiceUnreachable,
    UnexpectedReply,
)
from otp_service_client.redaction import RedactedStruct
from otp_service_client.results import FieldError


T = TypeVar("T")

REPEAT_PAUSE_SECONDS: Final = 0.2
"""Before the repetition: time for a restart behind a proxy, and for the first call to end."""
IN_USE_PAUSE_SECONDS: Final = 2.0
"""Before another one, where the service answers that the first call still runs."""

GATEWAY_STATUSES: Final = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""Of proxies whose connection to the service broke, if the body is no problem of the service."""

PROBLEM_TYPE_PREFIX: Final = "/problems/"

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_SAFE_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
_DELAY_SECONDS = re.compile(r"[0-9]{1,9}")
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")


class Request(RedactedStruct, frozen=True):
    """An HTTP request, without the API key."""

    shown: ClassVar = ("method", "timeout_seconds")

    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    content: bytes
    timeout_seconds: float


class Pause(RedactedStruct, frozen=True):
    """A wait before the next request."""

    shown: ClassVar = ("seconds",)

    seconds: float


class Reply(RedactedStruct, frozen=True):
    """An HTTP response."""

    shown: ClassVar = ("status",)

    status: int
    headers: Mapping[str, str]
    """Their names are found in every case."""
    content: bytes


class LostReply(RedactedStruct, frozen=True):
    """No response."""

    shown: ClassVar = ("cause", "was_sent")

    cause: str
    """The name of the failure; its text too if nothing was sent, so that it has no part of the request."""
    was_sent: bool
    """Whether the service may have got the request."""


Outcome: TypeAlias = Reply | LostReply
Steps: TypeAlias = Generator[Request | Pause, Outcome | None, T]


def run_call(call: Call[T], fresh_key: str) -> Steps[T]:
    """Send a call, once more if its reply was lost and that is safe, and return its result.

    `fresh_key` is the Idempotency-Key, unless the call has one of the caller or takes none.
    """
    key = choose_key(call, fresh_key)
    try:
        outcome = yield from _send_request(call, build_request(call, key))
        return read_outcome(call, outcome)
    except OtpServiceError as error:
        error.operation, error.idempotency_key = call.operation, key
        raise


def choose_key(call: Call[T], fresh_key: str) -> str | None:
    """Return the Idempotency-Key of a call: the caller's, or the fresh one."""
    if not call.takes_key:
        return None
    return fresh_key if call.idempotency_key is None else call.idempotency_key


def _send_request(call: Call[T], request: Request) -> Steps[Outcome]:
    """Return the reply of one request or of its repetition."""
    first = yield from _await_outcome(request)
    if not (isinstance(first, LostReply) and can_repeat(call, first)):
        return first
    yield Pause(seconds=REPEAT_PAUSE_SECONDS)
    second = yield from _await_outcome(request)
    if isinstance(second, Reply) and _is_in_use(second):
        yield Pause(seconds=IN_USE_PAUSE_SECONDS)
        second = yield from _await_outcome(request)
    if isinstance(second, LostReply) and first.was_sent:
        return msgspec.structs.replace(second, was_sent=True)
    return second


def _await_outcome(request: Request) -> Steps[Outcome]:
    outcome = yield request
    assert outcome is not None, "a request is answered by its outcome"
    if (
        isinstance(outcome, Reply)
        and outcome.status in GATEWAY_STATUSES
        and not read_problem(outcome)
    ):
        return LostReply(cause=f"status {outcome.status} of a proxy", was_sent=True)
    return outcome


def _is_in_use(reply: Reply) -> bool:
    problem = read_problem(reply)
    return problem is not None and problem.slug == IdempotencyKeyInUse.slug


def can_repeat(call: Call[T], lost: LostReply) -> bool:
    """Return whether a call whose reply was lost can be sent again, and runs only once."""
    return call.takes_key or call.is_idempotent or not lost.was_sent


# ----------------------------------------------------------------------------------- requests


def build_request(call: Call[T], key: str | None) -> Request:
    """Return the request of a call.

    Raises ChallengeNotFound or NotFound for an id that would be another path: nothing may be sent there.
    Raises ValueError if the Idempotency-Key cannot be a header.
    """
    if not _SAFE_PATH.fullmatch(call.path):
        is_challenge = call.path.startswith("/v1/challenges/")
        raise (ChallengeNotFound if is_challenge else NotFound)(
            "An id has letters, digits and hyphens only. Nothing was sent."
        )
    headers = {"Accept": "application/json"}
    if key is not None:
        if not _IDEMPOTENCY_KEY.fullmatch(key):
            raise ValueError("idempotency_key must be 1 to 255 visible ASCII characters")
        headers["Idempotency-Key"] = key
    content = b""
    if call.body is not None:
        headers["Content-Type"] = "application/json"
        # ASCII: the service refuses a lone surrogate, which is no text in UTF-8.
        content = json.dumps(call.body).encode("ascii")
    return Request(
        method=call.method,
        target=f"{call.path}?{urlencode(call.query)}" if call.query else call.path,
        headers=headers,
        content=content,
        timeout_seconds=call.timeout_seconds,
    )


# ----------------------------------------------------------------------------------- replies


class Problem(RedactedStruct, frozen=True):
    """A problem document of the service, with None in place of a missing member."""

    shown: ClassVar = ("type",)

    type: str
    detail: str = ""
    errors: tuple[FieldError, ...] | None = None
    reason: str | None = None
    attempts_left: int | None = None
    retry_after: int | None = None
    limit: str | None = None
    id: str | None = None

    @property
    def slug(self) -> str:
        """The end of the type."""
        return self.type.removeprefix(PROBLEM_TYPE_PREFIX)


def read_problem(reply: Reply) -> Problem | None:
    """Return the problem document of a reply, or None if it is not a problem of the service."""
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if reply.status < HTTPStatus.BAD_REQUEST or media_type != "application/problem+json":
        return None
    try:
        problem = msgspec.json.decode(reply.content, type=Problem)
    except DECODE_ERRORS:
        return None
    return problem if problem.type.startswith(PROBLEM_TYPE_PREFIX) else None


def read_outcome(call: Call[T], outcome: Outcome) -> T:
    """Return the result of a call, or raise the exception of its outcome."""
    if isinstance(outcome, LostReply):
        raise build_unreachable_error(call, outcome)
    if outcome.status != call.success_status:
        raise build_reply_error(outcome)
    if call.result_type is NoneType:
        return cast("T", None)
    try:
        return msgspec.json.decode(outcome.content, type=call.result_type)
    except DECODE_ERRORS as error:
        reason = str(error)
    # Here, so that no exception with a part of the body is its context.
    raise UnexpectedReply(f"The reply is not as documented: {reason}", status=outcome.status)


def build_unreachable_error(call: Call[T], lost: LostReply) -> ServiceUnreachable:
    """Return the exception of a call that got no reply."""
    if not lost.was_sent:
        detail = f"The service cannot be reached ({lost.cause}): {call.operation} was not sent."
    else:
        remedy = (
            "Repeat the same call with the idempotency_key of this exception."
            if call.takes_key
            else "Look at what it has changed before you repeat it."
        )
        detail = f"The reply to {call.operation} was lost ({lost.cause}): its outcome is unknown. {remedy}"
    return ServiceUnreachable(detail, outcome_unknown=lost.was_sent)


def build_reply_error(reply: Reply) -> OtpServiceError:
    """Return the exception of a reply that is not the success of its call."""
    problem = read_problem(reply)
    if problem is None:
        return UnexpectedReply(
            f"A reply with status {reply.status} that is not the service's: is base_url right? Redirects"
            " are not followed.",
            status=reply.status,
        )
    group = RequestRefused if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR else ServiceFailed
    members = {
        name: value for name, value in msgspec.structs.asdict(problem).items() if value is not None
    }
    retry_after = reply.headers.get("retry-after", "")
    if _DELAY_SECONDS.fullmatch(retry_after):
        members.setdefault("retry_after", int(retry_after))
    members |= {"slug": problem.slug, "status": reply.status}
    return PROBLEM_CLASSES.get(problem.slug, group)(members.pop("detail"), **members)
