"""Replies whose status and body are fine, and nothing else: what nobody reads decides nothing.

Each form was seen from some gateway or proxy, or is refused by aiohttp, by h11, or by both.
"""

import asyncio
import gzip
import socket

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused
from otp_service.sms import http_transport
from otp_service.sms.fault_table import classify_refusal, reply_from_message_id
from otp_service.sms.http_provider import HttpProvider, HttpReply, HttpRequest


BODY = b'{"id":"m-1","code":"21211"}'
BOMB = gzip.compress(b"x" * 1_000_000, mtime=0)
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"


def build_raw(status_line=b"HTTP/1.1 %d OK", headers=LENGTH, body=BODY, end=b"\r\n"):
    """Return the octets of a reply, with a place for the status."""
    return status_line + end + headers + end + body.replace(b"%", b"%%")


def build_chunks(body=BODY, end=b"\r\n", size=b"%X", tail=b"0\r\n\r\n"):
    """Return a body in one chunk."""
    return size % len(body) + end + body + end + tail


STATUS_LINES = {
    "Latin-1 in the reason phrase": b"HTTP/1.1 %d Prohibici\xf3n",
    "UTF-8 in the reason phrase": "HTTP/1.1 %d Prohibición".encode(),
    "invalid UTF-8 in the reason phrase": b"HTTP/1.1 %d \xff\xfe\xed\xa0\x80",
    "a NUL in the reason phrase": b"HTTP/1.1 %d O\0K",
    "a control character in the reason phrase": b"HTTP/1.1 %d O\x01\x1bK",
    "a tab in the reason phrase": b"HTTP/1.1 %d\tO\tK",
    "an empty reason phrase": b"HTTP/1.1 %d ",
    "no reason phrase": b"HTTP/1.1 %d",
    "a reason phrase of 9000 characters": b"HTTP/1.1 %d " + b"x" * 9000,
    "two spaces before the status": b"HTTP/1.1  %d OK",
    "a blank line first": b"\r\nHTTP/1.1 %d OK",
    "lower case": b"http/1.1 %d ok",
    "HTTP/1.0": b"HTTP/1.0 %d OK",
    "HTTP/1.2": b"HTTP/1.2 %d OK",
    "HTTP/2": b"HTTP/2 %d",
    "100 Continue first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 %d OK",
    "102 and 103 first": b"HTTP/1.1 102 A\r\n\r\nHTTP/1.1 103 B\r\nlink: x\r\n\r\nHTTP/1.1 %d OK",
}
HEADERS = {
    "two equal lengths": LENGTH + LENGTH,
    "two equal lengths in one field": b"content-length: %d, %d\r\n" % (len(BODY), len(BODY)),
    "a length with a sign": b"content-length: +%d\r\n" % len(BODY),
    "a length with zeros": b"content-length: 000%d\r\n" % len(BODY),
    "a length in blanks": b"content-length: \t %d \t \r\n" % len(BODY),
    "a length with a space before the colon": b"content-length : %d\r\n" % len(BODY),
    "Latin-1 in a value": LENGTH + b"x-msg: gr\xfcn\r\n",
    "UTF-8 in a value": LENGTH + "x-msg: café\r\n".encode(),
    "a NUL in a value": LENGTH + b"x-msg: a\0b\r\n",
    "a control character in a value": LENGTH + b"x-msg: a\x01b\r\n",
    "a bare CR in a value": LENGTH + b"x-msg: a\rb\r\n",
    "Latin-1 in a name": LENGTH + b"x-gr\xfcn: 1\r\n",
    "a space in a name": LENGTH + b"x msg: 1\r\n",
    "an empty name": LENGTH + b": x\r\n",
    "a line without a colon": LENGTH + b"garbage\r\n",
    "a folded line": LENGTH + b"x-msg: a\r\n b\r\n",
    "a folded line first": b" x\r\n" + LENGTH,
    "a value of 8200 characters": LENGTH + b"x-long: " + b"y" * 8200 + b"\r\n",
    "a value of 60000 characters": LENGTH + b"x-long: " + b"y" * 60_000 + b"\r\n",
    "600 fields": LENGTH + b"".join(b"x-%d: 1\r\n" % each for each in range(600)),
    "odd cookies": LENGTH + b"set-cookie: \xff\xfe=1;;;=\r\nset-cookie:\r\n",
    "an odd content type": LENGTH + b"content-type: \xff/;charset=none\r\ncontent-type: b/c\r\n",
    "an unknown coding": LENGTH + b"content-encoding: zstd-9\r\n",
    "gzip that is none": LENGTH + b"content-encoding: gzip\r\n",
    "an upgrade that was not asked for": LENGTH + b"connection: upgrade\r\nupgrade: h2c\r\n",
    "an address that is none": LENGTH + b"location: http://[::bad\xff\r\n",
    "the coding identity": b"transfer-encoding: identity\r\n" + LENGTH,
}
CHUNKED_REPLIES = {
    "chunked": build_raw(headers=CHUNKED, body=build_chunks()),
    "chunked, in capitals": build_raw(
        headers=b"Transfer-Encoding: CHUNKED\r\n", body=build_chunks(size=b"%x")
    ),
    "chunked twice": build_raw(headers=CHUNKED + CHUNKED, body=build_chunks()),
    "chunked after identity": build_raw(
        headers=b"transfer-encoding: identity, chunked\r\n", body=build_chunks()
    ),
    "chunked with a length": build_raw(headers=CHUNKED + LENGTH, body=build_chunks()),
    "a padded size": build_raw(headers=CHUNKED, body=build_chunks(size=b"000%x  ")),
    "an odd extension": build_raw(headers=CHUNKED, body=build_chunks(size=b"%x; a=\xff")),
    "trailers": build_raw(headers=CHUNKED, body=build_chunks(tail=b"0\r\nx-t: 1\r\n\r\n")),
    "LF alone in chunks": build_raw(headers=CHUNKED, body=build_chunks(end=b"\n", tail=b"0\n\n")),
    "no end after the last chunk": build_raw(headers=CHUNKED, body=build_chunks(tail=b"0\r\n")),
}
OTHERS = {
    "LF alone": build_raw(headers=LENGTH.replace(b"\r", b""), end=b"\n"),
    "octets after the reply": build_raw() + b"GARBAGE\r\n\r\n",
}
KEPT_OPEN = (
    {name: build_raw(line) for name, line in STATUS_LINES.items()}
    | {name: build_raw(headers=headers.replace(b"%", b"%%")) for name, headers in HEADERS.items()}
    | CHUNKED_REPLIES
    | OTHERS
)
CLOSED = {
    "no length": build_raw(headers=b""),
    "no length in HTTP/1.0": build_raw(b"HTTP/1.0 %d OK", b""),
    "a length that is no number": build_raw(headers=b"content-length: many\r\n"),
    "a length of 5000 digits": build_raw(headers=b"content-length: " + b"9" * 5000 + b"\r\n"),
    "two lengths that differ": build_raw(headers=LENGTH + b"content-length: 5\r\n"),
    "closed after the body": build_raw(),
    "a length beyond the body": build_raw(headers=b"content-length: 999\r\n"),
    "no last chunk": build_raw(headers=CHUNKED, body=build_chunks(tail=b"")),
}


class VendorBody(msgspec.Struct):
    """Its JSON."""

    id: str = ""
    code: str = ""


class Vendor:
    """A dialect with an id, and with codes that decide."""

    connect_timeout = read_timeout = 2.0

    def __init__(self, url):
        self.url = url

    def build_request(self, message):
        return HttpRequest("POST", self.url, (), message.text.encode())

    def interpret_reply(self, reply: HttpReply):
        body = reply.decode_or(VendorBody())
        if reply.is_2xx:
            return reply_from_message_id(body.id)
        return classify_refusal({"21211": "recipient"}, reply, body.code)


@pytest.fixture
def provider(gateway, transport):
    """A provider that speaks to the gateway."""
    return HttpProvider("acme", Vendor(gateway.url), transport)


MEANINGS = [
    (200, Accepted("m-1")),
    (400, Refused(Fault.RECIPIENT, "21211")),
]


@pytest.mark.parametrize("form", KEPT_OPEN)
async def test_status_and_body_decide(gateway, provider, message, form):
    """Whatever else is odd, an acceptance is one and a refusal has its fault; one request each."""
    for status, meaning in MEANINGS:
        gateway.set_raw_reply(KEPT_OPEN[form] % status)

        assert meaning == await provider.send(message)
    assert 2 == len(gateway.requests)


@pytest.mark.parametrize("form", CLOSED)
async def test_status_and_body_decide_where_the_connection_ends(gateway, provider, message, form):
    """The part that came is read: the id or the code is in it."""
    for status, meaning in MEANINGS:
        gateway.set_raw_reply(CLOSED[form] % status, then_close=True)

        assert meaning == await provider.send(message)


async def test_a_reset_after_a_complete_reply_changes_nothing(gateway, provider, message):
    """The reply came first."""

    async def reply_and_reset(writer):
        writer.write(build_raw() % 200)
        await writer.drain()
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    gateway.set_handler(reply_and_reset)

    assert Accepted("m-1") == await provider.send(message)


async def test_a_reply_in_single_octets_is_read(gateway, provider, message):
    """No boundary between segments decides anything."""

    async def dribble(writer):
        for octet in build_raw(headers=CHUNKED, body=build_chunks()) % 200:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0)

    gateway.set_handler(dribble)

    assert Accepted("m-1") == await provider.send(message)


@pytest.mark.parametrize(
    ("raw", "meaning"),
    [
        (
            b"HTTP/1.1 429 Slow\r\nretry-after: 17\r\ncontent-length: 99\r\n\r\nhalf",
            Refused(Fault.PROVIDER, "http-429", 17, RefusalScope.THROTTLED),
        ),
        (b"HTTP/1.1 403 \xf3\r\n", Refused(Fault.PROVIDER, "http-403", None, RefusalScope.ACCOUNT)),
        (
            b"HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            Refused(Fault.PROVIDER, "http-401", None, RefusalScope.ACCOUNT),
        ),
        (b"HTTP/1.1 500 No\r\ncontent-length: 99\r\n\r\n", Refused(Fault.UNKNOWN, "http-500")),
    ],
)
async def test_a_refusal_needs_only_its_status(gateway, provider, message, raw, meaning):
    """A 4xx whose body breaks off was refused: nothing was sent, and throttling is throttling."""
    gateway.set_raw_reply(raw, then_close=True)

    assert meaning == await provider.send(message)


async def test_a_refusal_is_known_before_its_body_is_given_up(gateway, transport, message):
    """A 429 whose body never comes is throttling (waits for the timeout itself)."""
    vendor = Vendor(gateway.url)
    vendor.read_timeout = 0.2
    gateway.set_raw_reply(b"HTTP/1.1 429 Slow\r\nretry-after: 3\r\ncontent-length: 99\r\n\r\n")

    reply = await HttpProvider("acme", vendor, transport).send(message)

    assert Refused(Fault.PROVIDER, "http-429", 3, RefusalScope.THROTTLED) == reply


@pytest.mark.parametrize(
    ("raw", "meaning"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Refused(Fault.UNKNOWN, "no-message-id")),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}more\r\n",
            Refused(Fault.UNKNOWN, "bad-reply", None, RefusalScope.SILENCE),
        ),
        (
            b"HTTP/1.1 200 " + b"x" * 200_000,
            Refused(Fault.UNKNOWN, "bad-reply", None, RefusalScope.SILENCE),
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
            % (len(BOMB), BOMB),
            Refused(Fault.UNKNOWN, "reply-too-big"),
        ),
    ],
    ids=["no body", "a chunk without its end", "an endless status line", "a bomb"],
)
async def test_what_cannot_be_read_may_have_been_sent(gateway, provider, message, raw, meaning):
    """A 2xx without a proof of anything, whatever is wrong with it."""
    gateway.set_raw_reply(raw)

    assert meaning == await provider.send(message)


async def test_octets_before_a_request_end_the_connection(gateway, provider, message):
    """A server that speaks on an idle connection could forge the next reply."""
    connections = []

    async def reply(writer):
        connections.append(writer)
        writer.write(build_raw() % 200)
        await writer.drain()

    gateway.set_handler(reply)
    await provider.send(message)
    connections[0].write(build_raw() % 500)
    await connections[0].drain()
    await asyncio.sleep(0.05)

    assert Accepted("m-1") == await provider.send(message)
    assert 2 == len(set(connections))


async def test_an_idle_connection_is_closed_before_the_server_closes_it(
    gateway, transport, message, monkeypatch
):
    """Apache and Node close theirs after 5 s; a message written then would be unknown."""
    monkeypatch.setattr(http_transport, "KEEP_ALIVE_SECONDS", 0.01)
    gateway.set_raw_reply(build_raw() % 200)
    provider = HttpProvider("acme", Vendor(gateway.url), transport)
    await provider.send(message)
    await asyncio.sleep(0.1)

    assert Accepted("m-1") == await provider.send(message)
    assert 2 == gateway.connection_count


async def test_octets_after_a_reply_are_not_the_next_one(gateway, provider, message):
    """A gateway cannot answer a request that was not made: the connection ends instead."""
    forged = b'HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{"id":"forged"'
    gateway.set_raw_reply(build_raw() % 200 + forged)
    await provider.send(message)
    gateway.set_raw_reply(build_raw() % 200)

    assert Accepted("m-1") == await provider.send(message)


@pytest.mark.parametrize("form", ["two equal lengths", "chunked with a length", "a folded line"])
async def test_a_reply_with_odd_framing_is_the_last_on_its_connection(
    gateway, provider, message, form
):
    """Where two readers could disagree about its end, nothing more is read."""
    connections = set()

    async def reply(writer):
        connections.add(writer)
        writer.write(KEPT_OPEN[form] % 200)
        await writer.drain()

    gateway.set_handler(reply)
    await provider.send(message)
    await provider.send(message)

    assert 2 == len(connections)


async def test_a_regular_reply_keeps_its_connection(gateway, provider, message):
    """TLS and TCP are set up once for many messages."""
    connections = set()

    async def reply(writer):
        connections.add(writer)
        writer.write(build_raw() % 200)
        await writer.drain()

    gateway.set_handler(reply)
    await provider.send(message)
    await provider.send(message)

    assert 1 == len(connections)
