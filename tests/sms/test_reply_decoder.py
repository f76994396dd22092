"""Bodies of replies: what a dialect does not use decides nothing."""

import gzip
import zlib

import msgspec
import pytest

from otp_service.sms.reply_decoder import decode_json, decode_or, decode_text, expand_body


class Part(msgspec.Struct):
    """A message in a reply."""

    status: str
    code: int | None = None


class Body(msgspec.Struct):
    """A reply."""

    id: str = ""
    part: Part | None = None
    parts: list[Part] = []
    names: list[str] = []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"id": "7", "part": "none"}', Body("7")),
        (b'{"id": "7", "part": {"status": "0", "code": "x"}}', Body("7", Part("0"))),
        (b'{"id": "7", "part": {"code": 1}}', Body("7")),
        (b'{"id": "7", "parts": null}', Body("7")),
        (
            b'{"id": 7, "parts": [{"status": "0"}, {"status": "1", "code": []}]}',
            Body("", None, [Part("0"), Part("1")]),
        ),
        (b'{"id": "7", "parts": [{"status": 0}]}', Body("7")),
        (b'{"id": "7", "names": ["a", 1]}', Body("7")),
        (b'{"id": "7", "names": {}}', Body("7")),
        (b"[]", Body()),
        (b'"7"', Body()),
        (b"{", Body()),
        (b"[" * 60_000, Body()),
        (b'{"id": "7"}' + b"[" * 60_000, Body("7")),
        (b"9" * 6000, Body()),
        (b"", Body()),
    ],
)
def test_invalid_members_are_left_out(text, expected):
    """An acceptance with `"errors": null` is one; what is required decides about its struct."""
    assert expected == decode_or(text, Body())


def test_default_is_kept_where_the_struct_itself_lacks_something():
    """A reply without what it must have is no reply."""
    assert Part("default") == decode_or(b'{"code": 1}', Part("default"))
    assert Part("default") == decode_or(b'{"status": 1}', Part("default"))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"OK\r\n", "OK"),
        (b"\xef\xbb\xbfOK", "OK"),
        ("OK".encode("utf-16"), "OK"),
        ("OK".encode("utf-16-be"), "OK"),
        (b"OK\0\0", "OK"),
        (b"f\xfcr", "f\ufffdr"),
        (b"", ""),
    ],
)
def test_text_without_its_mark(octets, text):
    """Prose is recognized by its first words."""
    assert text == decode_text(octets)


@pytest.mark.parametrize("octets", [b"", b"OK", b"{'id': 1}", b"[" * 60_000, b"9" * 6000])
def test_no_json_is_a_value_error(octets):
    """Never another exception, whatever a vendor sends."""
    with pytest.raises(ValueError):  # noqa: PT011  # its text is the parser's
        decode_json(octets)


RAW_DEFLATE = zlib.compress(b"body")[2:-4]


@pytest.mark.parametrize(
    ("coding", "octets", "expanded"),
    [
        ("gzip", gzip.compress(b"body", mtime=0), b"body"),
        (" X-GZip ", gzip.compress(b"body", mtime=0), b"body"),
        ("deflate", zlib.compress(b"body"), b"body"),
        ("deflate", RAW_DEFLATE, b"body"),
        ("gzip", gzip.compress(b"body", mtime=0)[:-3], b"body"),
        ("gzip", b"plain", b"plain"),
        ("deflate", b"\xff\xff plain", b"\xff\xff plain"),
        ("br", b"other", b"other"),
        ("", b"plain", b"plain"),
        ("gzip", gzip.compress(b"x" * 100, mtime=0), None),
    ],
)
def test_compressed_bodies_are_expanded_up_to_a_limit(coding, octets, expanded):
    """A hundred bytes of gzip are no way to fill the memory."""
    assert expanded == expand_body(octets, coding, 99)
