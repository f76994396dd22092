"""A request has exactly one response, and nothing in its body is taken for a request.

Each input ends in bytes that are a request of their own. PROBE then shows where the server looks for
the next request: it is answered, or the connection is closed.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.attacks.raw_http import Exchange, RawClient, exchange
from tests.processes import RunningService, run_dev


pytestmark = pytest.mark.slow

INNER = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""On the public listener its response would be 200, on the admin listener 404."""


BODY_SECONDS = 20
"""As in `api/request_body.py`."""

NOTHING: tuple[str, list[str], int] = ("/nothing", [], 404)
"""A target without a route."""


class Listener(NamedTuple):
    """A listener, and two ways to send it a body: no handler reads the first one."""

    port: int
    unread: tuple[str, list[str], int]
    """Path, header lines, and the status of the response."""
    read: tuple[str, list[str], int]


def build_listener(service: RunningService, name: str) -> Listener:
    """Return a listener of a service."""
    key = next(iter(service.keys.values()))
    json = [f"Authorization: Bearer {key}", "Content-Type: application/json"]
    form = ["Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin"]
    if name == "public":
        return Listener(service.port, ("/v1/callbacks/a", [], 404), ("/v1/challenges", json, 400))
    return Listener(service.admin_port, NOTHING, ("/audit/login", form, 400))


@pytest.fixture(scope="module", params=["public", "admin"])
def listener(request: pytest.FixtureRequest, service: RunningService) -> Listener:
    """Return each listener of `serve` in turn."""
    return build_listener(service, request.param)


@pytest.fixture(scope="module")
def dev_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return a running `otp-service dev`."""
    with run_dev(tmp_path_factory.mktemp("dev") / "data") as service:
        yield service


def build_head(
    target: tuple[str, list[str], int],
    *lines: str,
    method: str = "POST",
    version: str = "HTTP/1.1",
    length: int | None = len(INNER),
) -> bytes:
    """Return a head with these lines besides Host and Content-Length."""
    path, headers, _ = target
    announced = [] if length is None else [f"Content-Length: {length}"]
    head = [f"{method} {path} {version}", "Host: localhost", *headers, *lines, *announced, "", ""]
    return "\r\n".join(head).encode("latin-1")


def assert_served(found: Exchange, *statuses: int) -> None:
    """Assert these responses, and that the server then expects the next request."""
    assert list(statuses) == found.statuses
    assert found.probe is not None
    assert 404 == found.probe.status


def assert_unread(found: Exchange, status: int) -> None:
    """Assert one response, which says that the connection ends after it."""
    assert_closed(found, status)
    assert "close" == found.responses[0].headers["connection"]


def assert_closed(found: Exchange, *statuses: int) -> None:
    """Assert these responses, and the end of the connection after them."""
    assert list(statuses) == found.statuses
    assert found.probe is None


# ------------------------------------------------------------------------------------- Upgrade

UPGRADES = [
    pytest.param(["Connection: Upgrade", "Upgrade: h2c"], id="h2c"),
    pytest.param(
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"],
        id="h2c with settings, as the JDK asks",
    ),
    pytest.param(
        [
            *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
        id="websocket",
    ),
    pytest.param(["Connection: Upgrade", "Upgrade: TLS/1.0"], id="TLS"),
    pytest.param(["Connection: Upgrade", "Upgrade: anything/1, h2c"], id="two protocols"),
    pytest.param(["Upgrade: h2c"], id="without Connection"),
    pytest.param(["Connection: keep-alive", "Upgrade: h2c"], id="Connection: keep-alive"),
    pytest.param(["Connection: upgrade", "Upgrade:"], id="empty"),
    pytest.param(["Connection: upgrade"], id="Connection alone, as nginx sends it"),
    pytest.param(["cOnNeCtIoN: uPGRADE", "uPgRaDe: H2C"], id="mixed case"),
    pytest.param(["Upgrade: h2c", "Connection: x", "Connection: Upgrade"], id="two Connections"),
    pytest.param(["Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket"], id="two Upgrades"),
]


@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize("lines", UPGRADES)
def test_upgrade_is_ignored_and_the_body_is_read_by_its_length(
    listener: Listener, lines: list[str], *, is_read: bool, later: bool
) -> None:
    """RFC 9110 §7.8. uvicorn answered the body, without an API key (A1)."""
    target = listener.read if is_read else listener.unread
    head = build_head(target, *lines)
    segments = [head, INNER] if later else [head + INNER]

    found = exchange(listener.port, *segments, count=1)

    if is_read:
        assert_served(found, target[2])
    else:
        assert_unread(found, target[2])


@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
@pytest.mark.parametrize("name", ["public", "admin"])
def test_dev_ignores_upgrade_too(dev_service: RunningService, name: str, *, later: bool) -> None:
    """The smallest input of the report, on the listeners of the other command."""
    listener = build_listener(dev_service, name)
    head = build_head(listener.unread, "Connection: Upgrade", "Upgrade: h2c")
    segments = [head, INNER] if later else [head + INNER]

    assert_unread(exchange(listener.port, *segments, count=1), 404)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "TRACE"])
def test_upgrade_is_ignored_with_every_method(listener: Listener, method: str) -> None:
    """The body of a method that has none is read by its length, too; an unknown method is refused."""
    head = build_head(NOTHING, "Connection: Upgrade", "Upgrade: h2c", method=method)

    found = exchange(listener.port, head, INNER, count=1, has_body=method != "HEAD")

    assert_unread(found, 400 if method in {"PRI", "PURGE"} else 404)


def test_an_upgrade_of_http_1_0_is_ignored(listener: Listener) -> None:
    """HTTP/1.0 has no Upgrade, and ends the connection."""
    head = build_head(listener.unread, "Connection: Upgrade", "Upgrade: h2c", version="HTTP/1.0")

    assert_closed(exchange(listener.port, head, INNER, count=1), 404)


@pytest.mark.parametrize("cut", [b"Upg", b"grade: h", b"\r\nUpgrade", b"\n\r\n"])
def test_a_request_split_inside_its_head_is_one_request(listener: Listener, cut: bytes) -> None:
    """The parser keeps a part of a line for the next segment."""
    whole = build_head(listener.read, "Connection: Upgrade", "Upgrade: h2c") + INNER
    at = whole.index(cut) + 1

    assert_served(exchange(listener.port, whole[:at], whole[at:], count=1), 400)


def test_a_pipelined_upgrade_has_its_place_in_the_order(listener: Listener) -> None:
    """Each of five requests has one response, and the order is that of the requests."""
    read, unread = listener.read, listener.unread
    upgrade = build_head(read, "Connection: Upgrade", "Upgrade: h2c") + INNER
    plain = build_head(unread, method="GET", length=None)

    found = exchange(listener.port, plain + upgrade + plain + upgrade + plain, count=5)

    assert_served(found, 404, 400, 404, 400, 404)


@pytest.mark.parametrize("method", ["BREW", "get", "PRI", "PURGE", "M-SEARCH"])
def test_a_method_that_is_not_of_http_is_refused_and_closes(
    listener: Listener, method: str
) -> None:
    """The API document has no such method, and nobody knows whether it has a body."""
    head = build_head(listener.read, "Connection: Upgrade", "Upgrade: h2c", method=method)

    found = exchange(listener.port, head, INNER, count=1)

    assert_unread(found, 400)
    assert "invalid-request" == found.responses[0].problem_type


@pytest.mark.parametrize("target", ["localhost:443", "localhost", "/v1/callbacks/a", "http://x/a"])
@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
def test_connect_is_refused_and_closes(listener: Listener, target: str, *, later: bool) -> None:
    """Its body has no meaning (RFC 9110 §9.3.6), so what follows is not trusted."""
    head = build_head((target, [], 0), method="CONNECT")
    segments = [head, INNER] if later else [head + INNER]

    found = exchange(listener.port, *segments, count=1)

    assert_closed(found, 400)
    assert "invalid-request" == found.responses[0].problem_type


# --------------------------------------------------------------------------- length and coding


@pytest.mark.parametrize(
    "framing",
    [
        *("Content-Length : {n}", "Content-Length\t: {n}", "Content-Length: +{n}"),
        *("Content-Length: {n}, {n}", "Content-Length: {n},{n}", "Content-Length: -{n}"),
        *("Content-Length: 0x2c", "Content-Length: {n} {n}", "Content-Length: {n}.0"),
        *("Content-Length:", "Content-Length: 99999999999999999999", "Content-Length: {n}\x0b"),
        *("Content-Length: {n}\xa0", "Content-Length: {n}\r\nContent-Length: 0"),
        *("Content-Length: 0\r\nContent-Length: {n}", "Content-Length: {n}\rX: y"),
        *("Content-Length: {n}\0", "X: a\r\n Content-Length: {n}", "Content-Length:\r\n {n}"),
        *("Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, gzip"),
        *("Transfer-Encoding: identity", "Transfer-Encoding: gzip", "Transfer-Encoding:"),
        *("Transfer-Encoding: chunked;q=1", 'Transfer-Encoding: "chunked"'),
        *("Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked,"),
        *("Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked"),
        *("Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked\r\n\t, gzip"),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        *("X: a\rContent-Length: {n}", "X: a\0b", "X\0: a", "X Y: a", ": a", "X", "\x7fX: a"),
        *("X(: a", "Ä: a", "X: a\x01b", " X: a", "\tX: a"),
    ],
)
@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
def test_a_head_that_is_malformed_is_refused_and_closes(
    listener: Listener, framing: str, *, is_read: bool
) -> None:
    """RFC 9112 §2.2, §5, §6.3: programs disagree on where such a request ends."""
    target = listener.read if is_read else listener.unread
    head = build_head(target, framing.replace("{n}", str(len(INNER))), length=None)

    assert_closed(exchange(listener.port, head + INNER, count=1), 400)


CHUNKED = "Transfer-Encoding: chunked"
LAST_CHUNK = b"0\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        *(["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: identity, chunked"]),
        *(["Transfer-Encoding: chunked, chunked"], [CHUNKED, CHUNKED]),
        *(["Transfer-Encoding: gzip", CHUNKED], ["Transfer-Encoding: xchunked, chunked"]),
    ],
)
@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
def test_another_coding_inside_chunked_is_501_and_closes(
    listener: Listener, lines: list[str], *, is_read: bool
) -> None:
    """RFC 9112 §6.1. Such a body was read as if it were plain."""
    head = build_head(listener.read if is_read else listener.unread, *lines, length=None)

    found = exchange(listener.port, head + LAST_CHUNK + INNER, count=1)

    assert_closed(found, 501)
    assert "not-implemented" == found.responses[0].problem_type


@pytest.mark.parametrize(
    "lines",
    [
        *([CHUNKED, "Content-Length: 5"], ["Content-Length: 5", CHUNKED]),
        *(["Content-Length: 0", CHUNKED], ["Content-Length: 5", "Content-Length: 5", CHUNKED]),
    ],
)
@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
def test_length_and_coding_together_close_the_connection(
    listener: Listener, lines: list[str], *, is_read: bool
) -> None:
    """RFC 9112 §6.1: a proxy may have used the other one of the two."""
    target = listener.read if is_read else listener.unread
    head = build_head(target, *lines, length=None)

    assert_closed(exchange(listener.port, head + LAST_CHUNK + INNER, count=1), target[2])


@pytest.mark.parametrize("value", ["{n}", "0{n}", " {n} ", "{n}\r\nContent-Length: {n}"])
def test_a_length_that_has_one_meaning_is_used(listener: Listener, value: str) -> None:
    """RFC 9112 §6.3 allows leading zeros, and several equal lengths as one."""
    line = "Content-Length: " + value.replace("{n}", str(len(INNER)))
    head = build_head(listener.read, line, length=None)

    assert_served(exchange(listener.port, head + INNER, count=1), 400)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_length_and_coding_there_is_no_body(listener: Listener, method: str) -> None:
    """RFC 9112 §6.3: what follows is the next request."""
    head = build_head(NOTHING, method=method, length=None)

    found = exchange(listener.port, head + build_head(NOTHING, length=None), count=2)

    assert_served(found, 404, 404)


def test_fields_with_an_underscore_frame_nothing(listener: Listener) -> None:
    """Some gateways map them to the names with a hyphen."""
    lines = ["Content_Length: 5", "Transfer_Encoding: chunked"]
    head = build_head(listener.unread, *lines, method="GET", length=None)

    assert_served(exchange(listener.port, head, count=1), 404)


# --------------------------------------------------------------------------------------- chunks


@pytest.mark.parametrize(
    "chunks",
    [
        *(
            b"3\r\none\r\n0\r\n\r\n",
            b"3;a=b\r\none\r\n0;c\r\n\r\n",
            b'3;a="b c"\r\none\r\n0\r\n\r\n',
        ),
        *(
            b"0003\r\none\r\n00\r\n\r\n",
            b"3 \r\none\r\n0\r\n\r\n",
            b"1\r\no\r\n2\r\nne\r\n0\r\n\r\n",
        ),
        *(b"0\r\n\r\n", b"3\r\none\r\n0\r\nTrailer: a\r\nAnother: b\r\n\r\n"),
        b"3\r\none\r\n0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 9\r\n\r\n",
    ],
)
@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
def test_chunks_end_where_they_say(listener: Listener, chunks: bytes, *, is_read: bool) -> None:
    """Extensions and trailers are read and discarded."""
    target = listener.read if is_read else listener.unread
    head = build_head(target, CHUNKED, length=None)

    found = exchange(listener.port, head, chunks, count=1)

    if is_read:
        assert_served(found, target[2])
    else:
        assert_unread(found, target[2])


@pytest.mark.parametrize(
    "chunks",
    [
        *(b"0x3\r\none\r\n0\r\n\r\n", b"+3\r\none\r\n0\r\n\r\n", b"-3\r\none\r\n0\r\n\r\n"),
        *(b"\r\none\r\n0\r\n\r\n", b"1_0\r\none\r\n0\r\n\r\n", b"3\none\r\n0\r\n\r\n"),
        *(b"3\r\none\n0\r\n\r\n", b"3\r\noneXX0\r\n\r\n", b"3;a\nx\r\none\r\n0\r\n\r\n"),
        *(b"3;a\rX\r\none\r\n0\r\n\r\n", b"fffffffffffffffff\r\none", b"3\r\none\r\nx\r\n"),
        *(b"3\r\none\r\n0\r\nX Y: a\r\n\r\n", b"3;" + b"a" * 70_000 + b"\r\none\r\n0\r\n\r\n"),
        *(b"3\r\none\r\n0\r\n" + b"A: b\r\n" * 5000 + b"\r\n", b"3\r\none\r\n0\n\n"),
    ],
)
def test_malformed_chunks_are_refused_and_close(listener: Listener, chunks: bytes) -> None:
    """A part of a body is never handled as if it were the whole."""
    head = build_head(listener.read, CHUNKED, length=None)

    found = exchange(listener.port, head + chunks + INNER, count=1)

    assert_closed(found, 400)


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"fffffffffffffff0", b"7fffffff"])
def test_a_chunk_of_endless_size_is_413(listener: Listener, size: bytes) -> None:
    """It is counted while it arrives."""
    head = build_head(listener.read, CHUNKED, length=None)

    assert_closed(exchange(listener.port, head + size + b"\r\n" + INNER * 400, count=1), 413)


@pytest.mark.parametrize("field", ["Authorization: Bearer {key}", "authorization: bearer {key}"])
def test_a_key_in_a_trailer_authenticates_nobody(service: RunningService, field: str) -> None:
    """A proxy removes or adds `Authorization` in the head, and passes trailers on."""
    head = build_head(
        ("/v1/challenges", ["Content-Type: application/json"], 401), CHUNKED, length=None
    )
    trailer = field.replace("{key}", service.keys["shop"]).encode()

    found = exchange(service.port, head + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n\r\n", count=1)

    assert 401 == found.statuses[0]


@pytest.mark.parametrize("field", [b"Host: localhost", b"Idempotency-Key: a", b"Content-Type: x/y"])
def test_other_fields_in_a_trailer_mean_nothing(listener: Listener, field: bytes) -> None:
    """The answer is that without them."""
    head = build_head(listener.read, CHUNKED, length=None)

    found = exchange(listener.port, head + b"3\r\none\r\n0\r\n" + field + b"\r\n\r\n", count=1)

    assert_served(found, 400)


# ------------------------------------------------------------------------------ Host and target


@pytest.mark.parametrize(
    "hosts",
    [
        *([], [""], ["localhost", "localhost"], ["localhost", "otp.example.com"], ["a b"]),
        *(["user@localhost"], ["localhost/x"], ["localhost, localhost"], ["::1"], ["\xe9"]),
    ],
)
def test_http_1_1_without_exactly_one_valid_host_is_400(
    listener: Listener, hosts: list[str]
) -> None:
    """RFC 9112 §3.2."""
    path, *_ = listener.unread
    lines = [f"POST {path} HTTP/1.1", *(f"Host: {host}" for host in hosts), "Content-Length: 0"]

    found = exchange(listener.port, "\r\n".join([*lines, "", ""]).encode("latin-1"), count=1)

    assert_closed(found, 400)
    assert "invalid-request" == found.responses[0].problem_type


def test_http_1_0_needs_no_host_on_the_public_listener(service: RunningService) -> None:
    """Health checks of load balancers send it so. The connection ends after the response."""
    found = exchange(service.port, b"GET /health/live HTTP/1.0\r\n\r\n", count=1)

    assert_closed(found, 200)


def test_the_admin_listener_answers_only_to_its_own_names(service: RunningService) -> None:
    """Under another name a page could read the metrics through a browser (DNS rebinding)."""
    for host, status in (("localhost", 200), ("127.0.0.1:1", 200), ("rebound.example", 400)):
        head = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        assert [status] == exchange(service.admin_port, head, count=1).statuses


@pytest.mark.parametrize(
    ("target", "status"),
    [
        *(("//v1//challenges", 404), ("/v1%2fchallenges", 404), ("/v1/challenges/", 404)),
        *(("/v1/./challenges", 404), ("/x/../v1/challenges", 404), ("/%761/challenges", 404)),
        *(("/v1/challenges;a", 404), ("/v1\\challenges", 404), ("/V1/challenges", 404)),
        *(("/v1/challenges%00", 404), ("*", 404), ("localhost:80", 404)),
        *(("http://localhost/v1/callbacks/a", 404), ("https://x:1/nothing", 404)),
        *(("/nothing#x", 404), ("/nothing?" + "a" * 9000, 414), ("/" + "a" * 9000, 414)),
    ],
)
def test_a_target_is_the_one_spelling_of_a_path(
    listener: Listener, target: str, status: int
) -> None:
    """In absolute form, which RFC 9112 §3.2.2 requires to accept, the path counts."""
    key = listener.read[1]
    head = build_head((target, key, status), length=None)

    found = exchange(listener.port, head, count=1)

    assert [status] == found.statuses
    assert found.responses[0].problem_type or listener.unread[0] == "/nothing"


@pytest.mark.parametrize(
    "line",
    [
        *("GET /a b HTTP/1.1", "GET  /a HTTP/1.1", "GET\t/a\tHTTP/1.1", "GET /a HTTP/1.1 "),
        *(
            "GET /\xe9 HTTP/1.1",
            "GET /a\0 HTTP/1.1",
            "GET ?a HTTP/1.1",
            "GET /a",
            "GET /a HTTP/1.2",
        ),
        *("GET /a http/1.1", "G@T /a HTTP/1.1", " GET /a HTTP/1.1", "GET /a HTTP/1.1\rX: y"),
        *("GET /a HTTP/2.0", "GET /a HTTP/0.9", "GET /a ICY/1.1", "\x00GET /a HTTP/1.1"),
    ],
)
def test_a_malformed_request_line_is_refused_and_closes(listener: Listener, line: str) -> None:
    """RFC 9112 §3."""
    head = f"{line}\r\nHost: localhost\r\n\r\n".encode("latin-1")

    assert_closed(exchange(listener.port, head + INNER, count=1), 400)


@pytest.mark.parametrize(
    "head",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200,
        b"\0" * 100,
        b"\x05\x01\x00",
    ],
    ids=["HTTP/2", "TLS", "NUL", "SOCKS"],
)
def test_another_protocol_is_not_spoken(listener: Listener, head: bytes) -> None:
    """It is closed, with a 400 or without a response."""
    with RawClient(listener.port) as client:
        client.send(head + b"\r\n\r\n" + INNER)
        answer = client.read_response()
        assert answer is None or answer.status == 400
        assert client.read_response() is None


def test_a_line_that_ends_in_a_line_feed_is_a_line(listener: Listener) -> None:
    """RFC 9112 §2.2 allows it: hyper ends a line at each line feed, with or without CR before it."""
    head = build_head(listener.read).replace(b"\r\n", b"\n")

    assert_served(exchange(listener.port, head, INNER, count=1), 400)


# ----------------------------------------------------------------------------------- size and pace


@pytest.mark.parametrize(
    "lines",
    [
        *([f"X: {'a' * 17_000}"], [f"X{i}: {'a' * 1000}" for i in range(17)]),
        *(["X: a"] * 101, [f"{'X' * 17_000}: a"], [f"Cookie: {'a=b; ' * 4000}"]),
    ],
    ids=["one field", "many fields", "101 fields", "a name", "cookies"],
)
def test_a_head_over_16_kib_or_100_fields_is_431(listener: Listener, lines: list[str]) -> None:
    """A header of 40 MiB cost 7 s of a worker (A3)."""
    head = build_head(listener.unread, *lines, method="GET", length=None)

    assert_closed(exchange(listener.port, head, count=1), 431)


def test_a_head_without_end_is_431(listener: Listener) -> None:
    """It is refused as soon as it is too long, and not buffered."""
    with RawClient(listener.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000)
        answer = client.read_response()
        assert answer is None or 431 == answer.status  # the rest may reset the connection


def test_a_head_of_almost_16_kib_is_served(listener: Listener) -> None:
    """Cookies and tracing headers of a large organization fit."""
    head = build_head(listener.unread, f"X: {'a' * 15_000}", method="GET", length=None)

    assert_served(exchange(listener.port, head, count=1), 404)


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
def test_a_body_that_waits_for_100_is_asked_for(listener: Listener, expect: str) -> None:
    """RFC 9110 §10.1.1: curl waits a second for it."""
    head = build_head(listener.read, f"Expect: {expect}")
    with RawClient(listener.port) as client:
        client.send(head)
        interim = client.read_response()
        client.send(INNER)
        answer = client.read_response()

    assert interim
    assert answer
    assert (100, 400) == (interim.status, answer.status)


def test_a_body_that_waits_is_not_asked_for_where_it_is_refused(service: RunningService) -> None:
    """An announced length over the limit is 413 at once."""
    key = service.keys["shop"]
    lines = [f"Authorization: Bearer {key}", "Content-Type: application/json"]
    head = build_head(("/v1/challenges", lines, 413), "Expect: 100-continue", length=99_999)

    found = exchange(service.port, head, count=1)

    assert_closed(found, 413)
    assert "content-too-large" == found.responses[0].problem_type


def test_a_body_that_ends_early_is_refused(listener: Listener) -> None:
    """A part of it is not handled as if it were the whole."""
    with RawClient(listener.port) as client:
        client.send(build_head(listener.read) + INNER[:-1])
        client.shut_down_sending()
        answer = client.read_response()

    assert answer is None or 400 == answer.status


def test_a_body_that_stops_is_408_after_20_seconds(service: RunningService) -> None:
    """At once on both listeners, and without a key; the connection is closed, and no worker waits for ever.

    200 connections with half of a body were open after 80 s. The clock of a worker cannot be moved.
    """
    public, admin = (build_listener(service, name) for name in ("public", "admin"))
    targets = [
        *((public.port, public.read), (admin.port, admin.read)),
        (public.port, ("/v1/callbacks/gateway", [], 404)),
    ]
    started_at = time.monotonic()
    clients = [RawClient(port, timeout_seconds=60) for port, _ in targets]
    for client, (_, target) in zip(clients, targets, strict=True):
        client.send(build_head(target) + INNER[:-1])

    answers = [client.read_response() for client in clients]

    assert [408, 408, 408] == [answer.status for answer in answers if answer]
    assert time.monotonic() - started_at < BODY_SECONDS + 5
    for client in clients:
        client.send(b"x" + INNER)
        assert client.read_response() is None
        client.__exit__()


def test_pipelined_requests_have_one_response_each(listener: Listener) -> None:
    """Thirty of them, some with a body, in one segment."""
    first = build_head(listener.unread, method="GET", length=None)
    second = build_head(listener.read) + INNER

    found = exchange(listener.port, (first + second) * 15, count=30)

    assert_served(found, *([404, 400] * 15))


def test_connection_close_is_the_last_request(listener: Listener) -> None:
    """What follows it is not read."""
    last = build_head(listener.unread, "Connection: close", length=0)

    assert_closed(exchange(listener.port, last + INNER, count=1), 404)


# ------------------------------------------------------------------------- fields of the API


@pytest.mark.parametrize(
    "fields",
    [
        *(["Bearer {key}", "Bearer {key}"], ["Bearer {key}", "Basic eDp5"], ["", "Bearer {key}"]),
        *(["Bearer {key}, Bearer {key}"], ["Bearer {key} x"], ["{key}"], ["Basic {key}"], []),
    ],
)
def test_a_key_is_sent_in_exactly_one_field(service: RunningService, fields: list[str]) -> None:
    """Another parser might use the other one."""
    lines = [f"Authorization: {field.replace('{key}', service.keys['shop'])}" for field in fields]
    head = build_head((f"/v1/challenges/c00-{'0' * 32}", lines, 401), method="GET", length=None)

    found = exchange(service.port, head, count=1)

    assert_served(found, 401)
    assert "unauthenticated" == found.responses[0].problem_type


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        *((["Content-Type: application/json"], 400), (["Content-Type: APPLICATION/JSON"], 400)),
        *((["Content-Type: application/json; charset=UTF-8"], 400), ([], 415)),
        *((["Content-Type: application/json"] * 2, 415), (["Content-Type: text/plain"], 415)),
        *((["Content-Type: application/json, text/plain"], 415), (["Content-Type:"], 415)),
        *((["Content-Type: application/json;charset=utf-7"], 415),),
        *((["Content-Type: application/json", "Content-Encoding: gzip"], 415),),
        *((["Content-Type: application/json", "Content-Encoding: identity"], 415),),
    ],
)
def test_a_body_is_json_in_utf_8_without_coding(
    service: RunningService, lines: list[str], status: int
) -> None:
    """Everything else is 415, and its body is not decoded."""
    key = f"Authorization: Bearer {service.keys['shop']}"
    head = build_head(("/v1/challenges", [key, *lines], status))

    found = exchange(service.port, head + INNER, count=1)

    assert_served(found, status)
    expected = "unsupported-media-type" if status == 415 else "invalid-request"
    assert expected == found.responses[0].problem_type


HEADS = [
    *(("port", "/health/live", ""), ("port", "/health/ready", ""), ("port", "/nothing", "")),
    *(("port", f"/v1/challenges/c00-{'0' * 32}", "shop"), ("port", "/v1/challenges", "shop")),
    *(("port", "/v1/audit/events", "security"), ("port", "/v1/audit/events", "")),
    *(("admin_port", "/metrics", ""), ("admin_port", "/openapi.yaml", "")),
    *(("admin_port", "/docs", ""), ("admin_port", "/audit", ""), ("admin_port", "/nothing", "")),
    ("admin_port", "/audit/login", ""),
]


@pytest.mark.parametrize(("name", "path", "key"), HEADS)
def test_head_is_answered_wherever_get_is(
    service: RunningService, name: str, path: str, key: str
) -> None:
    """A4, RFC 9110 §9.3.2: the same status and headers, and no body."""
    lines = [f"Authorization: Bearer {service.keys[key]}"] if key else []
    answers = {}
    for method in ("GET", "HEAD"):
        head = build_head((path, lines, 0), method=method, length=None)
        found = exchange(getattr(service, name), head, count=1, has_body=method == "GET")
        assert found.probe
        (answers[method],) = found.responses

    assert answers["GET"].status == answers["HEAD"].status
    volatile = {"date", "content-length"} if path == "/metrics" else {"date"}
    headers = [
        {name: value for name, value in answer.headers.items() if name not in volatile}
        for answer in answers.values()
    ]
    assert headers[0] == headers[1]
    assert "content-length" in answers["HEAD"].headers
    assert "no-store" == answers["HEAD"].headers["cache-control"]


@pytest.mark.parametrize("path", ["/v1/callbacks/gateway", "/v1/inbound/gateway"])
def test_head_is_405_where_a_get_changes_something(service: RunningService, path: str) -> None:
    """A4, RFC 9110 §9.2.1: without a body, and the next request on the connection is answered."""
    head = build_head((path, [], 0), method="HEAD", length=None)

    found = exchange(service.port, head, count=1, has_body=False)

    assert found.probe
    assert [405] == [answer.status for answer in found.responses]


DEEP = b"[" * 16_000


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/challenges", f"/v1/challenges/c00-{'0' * 32}/verify", "/v1/numbers/unlock"),
        *(f"/v1/challenges/c00-{'0' * 32}/resend", "/v1/audit/search", "/v1/callbacks/gateway"),
    ],
)
@pytest.mark.parametrize("body", [b"[" * 16_000, b'{"a":' * 3200, b"[" * 60_000])
def test_deep_json_is_no_failure_of_the_service(
    service: RunningService, path: str, body: bytes
) -> None:
    """It was a 500 on callbacks, without a key."""
    scopes = {"/v1/numbers/unlock": "security", "/v1/audit/search": "security"}
    answer = service.send_request("POST", path, by=scopes.get(path, "shop"), body=body)

    assert answer.status in ({400, 401, 415} if len(body) <= 16_384 else {400, 401, 413, 415})


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("&".join(f"a{i}=" for i in range(900)), 400),
        ("&" * 8000, 400),
        ("a=" * 4000, 400),
        ("a&" * 30_000, 431),
    ],
)
def test_a_long_query_stops_no_worker(service: RunningService, query: str, status: int) -> None:
    """60 KiB of names took 2 s of a worker, because each was compared with each."""
    answer = service.send_request("GET", f"/v1/audit/events?{query}", by="security")

    assert status == answer.status
