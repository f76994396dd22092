"""What the runner makes of everything that can happen to a request."""

import asyncio
import logging
import socket
import ssl

import httpx
import pytest

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused
from otp_service.sms.fault_table import classify_by_status
from otp_service.sms.http_provider import HttpProvider, HttpReply, HttpRequest, create_transport


def silence(fault, reason):
    """The refusal without an answer."""
    return Refused(fault, reason, None, RefusalScope.SILENCE)


class Echo:
    """A dialect that sends the text, and takes any 2xx as accepted."""

    connect_timeout = read_timeout = 0.3

    def __init__(self, url):
        self.url = url

    def build_request(self, message):
        headers = (("content-type", "text/plain"), ("x-key", "hunter2-key"))
        return HttpRequest("POST", self.url, headers, message.text.encode())

    def interpret_reply(self, reply):
        if reply.status < 300:
            return Accepted(reply.headers.get("x-id"))
        return classify_by_status(reply, reply.body.decode() or None)


@pytest.fixture
def provider(gateway, transport):
    """A provider that speaks to the gateway."""
    return HttpProvider("acme", Echo(gateway.url), transport)


async def test_asks_once_and_as_the_dialect_says(gateway, provider, message):
    """Method, address, headers and body arrive as they were described, uncompressed replies."""
    await provider.send(message)

    (asked,) = gateway.requests
    assert ("POST", "/v1/messages", message.text.encode()) == (
        asked.method,
        asked.target,
        asked.body,
    )
    assert "hunter2-key" == asked.headers["x-key"]
    assert "identity" == asked.headers["accept-encoding"]
    assert "otp-service" == asked.headers["user-agent"]


async def test_refused_connection_was_nothing_sent(transport, message):
    """No process listens: the provider's fault."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"

        reply = await HttpProvider("acme", Echo(url), transport).send(message)

    assert silence(Fault.PROVIDER, "connect-error") == reply


async def test_unknown_host_was_nothing_sent(transport, message, monkeypatch):
    """A name that does not resolve is the provider's fault."""

    async def nothing(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nothing)

    reply = await HttpProvider("acme", Echo("http://sms.invalid/"), transport).send(message)

    assert silence(Fault.PROVIDER, "dns-error") == reply


async def test_untrusted_certificate_was_nothing_sent(certificate, gateway, transport, message):
    """The code does not go to a server that cannot prove who it is; a trusted one gets it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    gateway._server.close()
    await gateway.listen(tls)

    reply = await HttpProvider("acme", Echo(gateway.url), transport).send(message)

    assert silence(Fault.PROVIDER, "tls-error") == reply
    assert [] == gateway.requests

    async with create_transport(
        tls_context=ssl.create_default_context(cafile=certificate)
    ) as trusting:
        assert Accepted() == await HttpProvider("acme", Echo(gateway.url), trusting).send(message)


async def test_plain_text_where_tls_should_be_was_nothing_sent(transport, message):
    """Neither does it go out in the open when TLS fails."""

    async def greet(reader, writer):
        writer.write(b"220 ready\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

        reply = await HttpProvider("acme", Echo(url), transport).send(message)

    assert silence(Fault.PROVIDER, "tls-error") == reply


async def test_no_free_connection_was_nothing_sent(gateway, message):
    """Waiting for a connection that others hold counts as connecting (waits for the timeout)."""
    gateway.hold_replies()
    async with create_transport(max_connections=1) as transport:
        first = asyncio.create_task(HttpProvider("a", Echo(gateway.url), transport).send(message))
        await gateway.request_received.wait()
        hasty = Echo(gateway.url)
        hasty.connect_timeout = 0.05

        assert silence(Fault.PROVIDER, "connect-timeout") == await HttpProvider(
            "b", hasty, transport
        ).send(message)
        assert silence(Fault.UNKNOWN, "read-timeout") == await first
    assert 1 == len(gateway.requests)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "disconnected"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "incomplete-reply"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nx", "bad-reply"),
        (b"220 smtp.example ESMTP +447400123456\r\n", "bad-reply"),
    ],
)
async def test_broken_reply_may_have_been_sent(gateway, provider, message, raw, reason):
    """Whatever breaks after the request was written is unknown (R88), never "not sent"."""
    gateway.set_raw_reply(raw, then_close=True)

    assert silence(Fault.UNKNOWN, reason) == await provider.send(message)
    assert 1 == len(gateway.requests)


async def test_reset_after_the_request_may_have_been_sent(gateway, provider, message):
    """A connection that is reset is as unknown as one that is closed."""

    async def reset(writer):
        linger = b"\1\0\0\0\0\0\0\0"  # on, 0 s: closing sends RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    gateway.set_handler(reset)

    assert silence(Fault.UNKNOWN, "disconnected") == await provider.send(message)


async def test_half_a_reply_and_then_silence_is_a_read_timeout(gateway, provider, message):
    """The rest is not awaited for ever (waits for the timeout itself)."""
    gateway.set_raw_reply(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    assert silence(Fault.UNKNOWN, "read-timeout") == await provider.send(message)


async def test_post_is_not_repeated_on_a_connection_that_was_closed(gateway, provider, message):
    """A lost reply on a kept connection is not asked for again: it would be a second SMS (R88)."""
    await provider.send(message)
    gateway.set_raw_reply(b"", then_close=True)

    reply = await provider.send(message)

    assert silence(Fault.UNKNOWN, "disconnected") == reply
    assert 2 == len(gateway.requests)


@pytest.mark.parametrize("head", [b"content-length: 10000000\r\n\r\n", b"\r\n"])
async def test_ten_megabytes_are_not_read(gateway, message, head):
    """More than 64 KiB is unknown, is left where it is, and leaves the connection free."""
    written = 0

    async def flood(writer):
        nonlocal written
        writer.transport.set_write_buffer_limits(0)
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        for _ in range(1000):
            writer.write(b"x" * 10_000)
            written += 10_000
            await writer.drain()

    gateway.set_handler(flood)
    async with create_transport(max_connections=1) as transport:
        provider = HttpProvider("acme", Echo(gateway.url), transport)

        assert Refused(Fault.UNKNOWN, "reply-too-big") == await provider.send(message)
        gateway.set_reply(200, {})
        assert Accepted() == await provider.send(message)

    assert written < 10_000_000


async def test_endless_headers_are_not_read(gateway, provider, message):
    """Headers are capped as well."""
    line = b"x-more: " + b"y" * 1000 + b"\r\n"
    gateway.set_raw_reply(b"HTTP/1.1 200 OK\r\n" + line * 5000)

    assert silence(Fault.UNKNOWN, "bad-reply") == await provider.send(message)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(gateway, start_gateway, provider, message, status):
    """A code never goes to an address that a server chose (R63)."""
    elsewhere = await start_gateway()
    gateway.set_reply(status, {}, location=elsewhere.url)

    assert Refused(Fault.PROVIDER, "redirect") == await provider.send(message)
    assert [] == elsewhere.requests


async def test_redirect_to_nonsense_is_a_redirect(gateway, provider, message):
    """Its address is not even read."""
    gateway.set_reply(302, {}, location="http://[+447400123456")

    assert Refused(Fault.PROVIDER, "redirect") == await provider.send(message)


async def test_proxies_of_the_environment_are_ignored(
    gateway, start_gateway, provider, message, monkeypatch
):
    """An attacker that can set a variable cannot read the codes (R63)."""
    proxy = await start_gateway()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    await provider.send(message)

    assert 1 == len(gateway.requests)
    assert [] == proxy.requests


async def test_cookies_are_not_kept(gateway, provider, message):
    """Nothing of one message comes back with the next."""
    gateway.set_reply(200, {}, set_cookie="number=447400123456; Path=/")

    await provider.send(message)
    await provider.send(message)

    assert "cookie" not in gateway.requests[1].headers


async def test_cancellation_goes_through_and_frees_the_connection(gateway, message):
    """A send that is given up raises CancelledError, and the next one can start."""
    gateway.hold_replies()
    async with create_transport(max_connections=1) as transport:
        provider = HttpProvider("acme", Echo(gateway.url), transport)
        sending = asyncio.create_task(provider.send(message))
        await gateway.request_received.wait()

        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        gateway.set_reply(200, {})
        assert Accepted() == await provider.send(message)


async def test_nothing_secret_is_logged(gateway, provider, message, caplog):
    """At DEBUG, no logger of any library shows the text, the number, a key or the reply (R68)."""
    caplog.set_level(logging.DEBUG)
    gateway.set_raw_reply(b"HTTP/1.1 400 No +447400123456\r\ncontent-length: 10\r\n\r\nvendortext")
    await provider.send(message)
    gateway.set_raw_reply(b"", then_close=True)
    await provider.send(message)

    for canary in ("864209", "Example", "7400123456", "hunter2", "vendortext"):
        assert canary not in caplog.text


def test_shapes_do_not_show_what_they_hold(message):
    """Neither in a `repr` nor in a pretty traceback (R68)."""
    request = HttpRequest("POST", "https://sms.example/k3y", (("a", "hunter2"),), b"864209")
    reply = HttpReply(200, {"a": "hunter2"}, b"864209")

    shown = "".join(f"{each} {each!r} {each.__rich_repr__()}" for each in (request, reply, message))

    for canary in ("864209", "hunter2", "k3y", "7400123456"):
        assert canary not in shown


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (httpx.ConnectTimeout, Fault.PROVIDER),
        (httpx.ConnectError, Fault.PROVIDER),
        (httpx.PoolTimeout, Fault.PROVIDER),
        (httpx.UnsupportedProtocol, Fault.PROVIDER),
        (httpx.ReadTimeout, Fault.UNKNOWN),
        (httpx.WriteTimeout, Fault.UNKNOWN),
        (httpx.ReadError, Fault.UNKNOWN),
        (httpx.RemoteProtocolError, Fault.UNKNOWN),
        (OSError, Fault.UNKNOWN),
    ],
)
async def test_other_transports_errors_mean_what_httpx_says(message, error, fault):
    """With httpx's own pool, or a mock, its classes say how far the request came."""

    def fail(_):
        raise error("+447400123456")

    provider = HttpProvider("acme", Echo("http://sms.example/"), httpx.MockTransport(fail))

    reply = await provider.send(message)

    assert fault == reply.fault
    assert "7400" not in reply.reason


class BrokenDialect(Echo):
    """A dialect whose request cannot be built."""

    def build_request(self, message):
        raise RuntimeError(message.text)


async def test_exception_while_the_request_is_built_was_nothing_sent(
    gateway, transport, message, caplog
):
    """A bug or a bad setting is the provider's fault, and its text is not logged (R68)."""
    reply = await HttpProvider("acme", BrokenDialect(gateway.url), transport).send(message)

    assert Refused(Fault.PROVIDER, "invalid-request", None, RefusalScope.ACCOUNT) == reply
    assert [] == gateway.requests
    assert "RuntimeError" in caplog.text
    assert "864209" not in caplog.text


@pytest.mark.parametrize(
    "value", ["\ufeffk3y", "k3y\r\nx-more: 1", "k3y\n", "k3y\0", "k\u20acy", "k\udcffy"]
)
async def test_credential_that_no_header_can_hold_was_nothing_sent(
    gateway, transport, message, value
):
    """What `check` refuses is the provider's fault, and adds no header to a request."""

    class Keyed(Echo):
        def build_request(self, message):
            return HttpRequest("POST", self.url, (("x-key", value),), message.text.encode())

    reply = await HttpProvider("acme", Keyed(gateway.url), transport).send(message)

    if reply != Accepted():
        assert Refused(Fault.PROVIDER, "invalid-request", None, RefusalScope.ACCOUNT) == reply
        assert [] == gateway.requests
    assert not any("x-more" in each.headers for each in gateway.requests)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://sms..example/", "invalid-url"),
        ("http:///nothing", "invalid-url"),
        ("ftp://127.0.0.1/", "invalid-url"),
        ("http://127.0.0.1:99999/", "connect-error"),
    ],
)
async def test_an_address_that_is_none_was_nothing_sent(transport, message, url, reason):
    """Nothing was connected to, whatever the reason."""
    reply = await HttpProvider("acme", Echo(url), transport).send(message)

    assert (Fault.PROVIDER, reason) == (reply.fault, reply.reason)


async def test_names_are_looked_up_once_for_all_that_wait(transport, message, monkeypatch):
    """A slow name server of one provider takes one thread, and blocks no lookup of another."""
    lookups = []

    async def fail_slowly(host, *_, **__):
        lookups.append(host)
        await asyncio.sleep(0.05)
        raise socket.gaierror

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail_slowly)
    provider = HttpProvider("acme", Echo("http://sms.example/"), transport)

    replies = await asyncio.gather(*(provider.send(message) for _ in range(20)))

    assert [silence(Fault.PROVIDER, "dns-error")] * 20 == replies
    assert ["sms.example"] == lookups


async def test_a_lookup_that_fails_after_its_caller_was_canceled_logs_nothing(
    transport, message, monkeypatch, caplog
):
    """It goes on, because others may wait for it, and its error is theirs."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def fail_later(*_args, **_kwargs):
        begun.set()
        await release.wait()
        raise socket.gaierror

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail_later)
    provider = HttpProvider("acme", Echo("http://sms.example/"), transport)
    sends = [asyncio.create_task(provider.send(message)) for _ in range(2)]
    await begun.wait()

    sends[0].cancel()
    await asyncio.wait(sends[:1])
    release.set()

    assert silence(Fault.PROVIDER, "dns-error") == await sends[1]
    assert sends[0].cancelled()
    assert [] == [one for one in caplog.records if one.name == "asyncio"]


async def test_close_leaves_the_shared_transport_open(gateway, provider, message):
    """It belongs to its creator."""
    await provider.aclose()
    await provider.send(message)

    assert 1 == len(gateway.requests)
