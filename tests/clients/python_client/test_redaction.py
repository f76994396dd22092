"""No phone number, code, token, secret or key is in a repr, the text of an exception or a traceback.

Each test plants values that cannot be there by chance, and looks for them.
"""

import inspect
import pickle
import traceback
from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from otp_service_client import (
    AsyncOtpClient,
    OtpClient,
    OtpServiceError,
    calls,
    exchange,
    results,
)
from otp_service_client.errors import PROBLEM_CLASSES
from otp_service_client.redaction import RedactedStruct


CANARY = "canary-7f3a"
SHOWN_TEXTS = {"status", "purpose", "id", "provider", "outcome", "fault", "reason", "mode", "type"}
"""Members that may be shown, although they are text: none of them is a person's."""

STRUCTS = {
    kind
    for module in (results, exchange, calls)
    for kind in vars(module).values()
    if inspect.isclass(kind) and issubclass(kind, RedactedStruct) and kind is not RedactedStruct
}


def fill_struct(kind):
    """Return a struct whose hidden members are canaries; types are not checked by msgspec here."""
    return kind(
        **{
            field.name: datetime.now(UTC)
            if "datetime" in str(field.type)
            else f"{CANARY} {field.name}"
            for field in msgspec.structs.fields(kind)
        }
    )


@pytest.mark.parametrize("kind", sorted(STRUCTS, key=str), ids=lambda kind: kind.__name__)
def test_a_struct_shows_only_members_that_may_be_in_a_log(kind):
    """In its repr, and in what `rich` prints instead of it."""
    value = fill_struct(kind)
    shown = {name for name, _ in value.__rich_repr__()}
    harmless = SHOWN_TEXTS | {
        *("operation", "method", "timeout_seconds", "seconds", "cause", "was_sent", "submissions"),
        *("at", "expires_at", "confirmed_at", "verified_at"),
        *("attempts_left", "sends_left", "codes_left", "path", "message"),
    }

    assert shown <= harmless
    assert not {name for name in shown if name == "path"} or kind is results.FieldError
    assert all(
        f"{CANARY} {name}" not in repr(value)
        for name in kind.__struct_fields__
        if name not in shown
    )
    assert f"{kind.__name__}(" == repr(value)[: len(kind.__name__) + 1]


@pytest.mark.parametrize("slug", sorted(PROBLEM_CLASSES))
def test_an_exception_does_not_show_its_key(slug):
    """It has it as an attribute, also after pickling, as for another process."""
    error = PROBLEM_CLASSES[slug]("Do this.", operation="verify_challenge", idempotency_key=CANARY)

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes

    assert CANARY not in f"{error} {error!r} {error.args}"
    assert (CANARY, "verify_challenge", "Do this.") == (
        copy.idempotency_key,
        copy.operation,
        copy.detail,
    )
    assert (slug, str(error)) == (copy.slug, str(copy))


def answer_with(reply):
    """Return a transport that gives this reply, or raises it."""

    def answer(_):
        if isinstance(reply, Exception):
            raise reply
        return reply

    return httpx.MockTransport(answer)


PROBLEM_HEADERS = {"Content-Type": "application/problem+json"}
REPLIES = {
    "a refusal": lambda: httpx.Response(
        422,
        headers=PROBLEM_HEADERS,
        content=b'{"type": "/problems/incorrect-code", "detail": "No."}',
    ),
    "a page": lambda: httpx.Response(200, text=f"<html>{CANARY}"),
    "a wrong body": lambda: httpx.Response(200, json={"authenticator": CANARY, "status": 3}),
    "no Unicode": lambda: httpx.Response(
        200, content=f'{{"authenticator": "{CANARY}'.encode() + b"\xff"
    ),
    "a lost reply": lambda: httpx.ReadError(CANARY),
    "no connection": lambda: httpx.ConnectError("refused"),
}
CALLS = {
    "issue_challenge": (f"+44{CANARY}",),
    "verify_challenge": ("c00-0", f"1 {CANARY}"),
    "cancel_challenge": (f"../{CANARY}",),
    "verify_authenticator": (f"a1.{CANARY}", "u-81", f"2 {CANARY}"),
    "create_authenticator": ("u-81",),
    "verify_recovery_code": (f"r1.{CANARY}", "u-81", f"3 {CANARY}"),
}


def format_own_frames(error):
    """Return the traceback with the locals of the frames of the package, as crash reporters send it."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = []
    while trace:
        frames = [frame for frame in trace.stack if "otp_service_client" in frame.filename]
        texts += [
            *traceback.StackSummary.from_list(frames).format(),
            *trace.format_exception_only(),
        ]
        assert all("httpx" not in frame.filename for frame in trace.stack), (
            "its locals have the key"
        )
        trace = trace.__cause__ or trace.__context__
    return "".join(texts)


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("operation", CALLS)
def test_a_traceback_with_locals_shows_nothing(operation, reply, monkeypatch):
    """Neither what was sent, nor the reply, nor the API key; and it has frames of the package."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    transport = answer_with(REPLIES[reply]())
    with OtpClient("https://otp.example.com", f"key-{CANARY}", transport=transport) as client:
        method = getattr(client, operation)
        with pytest.raises(OtpServiceError) as raised:
            method(*CALLS[operation])

    text = format_own_frames(raised.value)

    assert "in run_call" in text
    assert CANARY not in text
    assert CANARY not in f"{client!r} {vars(client)}"


@pytest.mark.parametrize("reply", REPLIES)
async def test_a_traceback_of_the_async_client_shows_nothing(reply, monkeypatch):
    async def skip_pause(_):
        pass

    monkeypatch.setattr("otp_service_client.async_client.asyncio.sleep", skip_pause)
    transport = answer_with(REPLIES[reply]())
    async with AsyncOtpClient(
        "https://otp.example.com", f"key-{CANARY}", transport=transport
    ) as client:
        with pytest.raises(OtpServiceError) as raised:
            await client.verify_challenge("c00-0", CANARY, phone_number=CANARY)

    text = format_own_frames(raised.value)

    assert "in run_call" in text
    assert CANARY not in text


def test_no_text_of_a_class_repeats_a_key_that_is_refused():
    with (
        OtpClient("https://otp.example.com", "worthless") as client,
        pytest.raises(ValueError, match="idempotency_key must be") as refused,
    ):
        client.resend_code("c00-0", idempotency_key=f"{CANARY} with a space")
    with pytest.raises(ValueError, match="api_key must be") as wrong:
        OtpClient("https://otp.example.com", f"{CANARY}\n")

    assert CANARY not in str(refused.value)
    assert CANARY not in str(wrong.value)
