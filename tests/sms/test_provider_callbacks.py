"""A callback is decoded in one place, and every way to fail there is the vendor's."""

import msgspec
import pytest

from otp_service.sms.provider_callbacks import (
    Callback,
    UnreadableCallback,
    convert_callback,
    decode_callback,
)


class Report(msgspec.Struct):
    """The fields of a receipt."""

    id: str
    status: str = ""


def build_callback(body: bytes) -> Callback:
    """A POST with this body."""
    return Callback("POST", "https://otp.example/v1/callbacks/acme", {}, body, 0)


@pytest.mark.parametrize("member", ["text", "form"])
def test_a_body_that_is_not_utf8_is_unreadable(member):
    """Also where a signature is computed over its text."""
    with pytest.raises(UnreadableCallback):
        getattr(build_callback(b"\xff\xfe"), member)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"{", b"[]", b'{"id": 1}', b'{"status": "sent"}', b"[" * 60_000]
)
def test_json_of_another_form_is_unreadable(body):
    """Missing members, other types, and nesting without end (R68: without a word of it)."""
    with pytest.raises(UnreadableCallback) as raised:
        build_callback(body).decode_json(Report)

    assert "" == str(raised.value)
    with pytest.raises(UnreadableCallback):
        decode_callback(body, Report)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (rb"\ud800STOP", "\ufffdSTOP"),
        (rb"a\uDFFF", "a\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\u0053", "\ufffdS"),
        (rb"\ud83d\n", "\ufffd\n"),
        (rb"\\ud800\ud800", "\\ud800\ufffd"),
        (b"caf\xe9 \xed\xa0\x80", "caf\ufffd \ufffd\ufffd\ufffd"),
        (rb"\ud83d\ude00 \\ \" \u00e9", '\U0001f600 \\ " \xe9'),
    ],
)
def test_a_text_that_is_no_unicode_is_read_nevertheless(written, text):
    """A phone can send one. Its vendor would repeat a callback that is refused, and then pause us."""
    body = b'{"id": "m-1", "status": "' + written + b'"}'

    assert Report("m-1", text) == build_callback(body).decode_json(Report)
    batch = build_callback(b"[" + body + b', {"id": "m-2"}]').json
    assert [{"id": "m-1", "status": text}, {"id": "m-2"}] == batch


@pytest.mark.parametrize(
    "body", [rb'{"id": "\u00"}', rb'{"id": "\ud8"}', rb'{"id": "\x"}', b'{"id": "\\']
)
def test_an_invalid_escape_is_unreadable(body):
    """Only what a phone can have sent is replaced."""
    with pytest.raises(UnreadableCallback):
        build_callback(body).decode_json(Report)


def test_a_form_without_a_required_field_is_unreadable():
    """And one with it is a struct."""
    callback = build_callback(b"id=m-1&status=sent&more=x")

    assert Report("m-1", "sent") == convert_callback(callback.form, Report)
    with pytest.raises(UnreadableCallback):
        convert_callback(build_callback(b"status=sent").form, Report)
