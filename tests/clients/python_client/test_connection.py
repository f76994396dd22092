"""The address, the key, the timeouts and the proxies of a client. Nothing here listens."""

import contextlib
import itertools
import json

import httpx
import pytest

from otp_service_client import (
    AsyncOtpClient,
    OtpClient,
    ServiceUnreachable,
    UnexpectedReply,
    connection,
)
from otp_service_client.connection import build_client_options
from tests.clients.python_client.conftest import CLIENT_TYPES


HEALTHY = {"status": "ok", "mode": "live"}


def record_requests(requests, reply=None):
    """Return a transport that keeps the requests, and gives each of them a healthy reply."""

    def answer(request):
        requests.append(request)
        return reply or httpx.Response(200, json=HEALTHY)

    return httpx.MockTransport(answer)


@pytest.mark.parametrize(
    "url",
    [
        "https://otp.example.com",
        "https://otp.example.com:8443/otp/",
        "http://127.0.0.1:8000",
        "http://127.9.9.9:8000",
        "http://[::1]:8000",
        "http://localhost:8000",
    ],
)
@pytest.mark.parametrize("kind", [OtpClient, AsyncOtpClient])
def test_https_and_loopback_are_accepted(kind, url):
    kind(url, "worthless")


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("http://otp.example.com", "must begin with https"),
        ("http://otp:8000", "allow_http=True"),
        ("http://localhost.example.com", "must begin with https"),
        ("http://127.0.0.1.example.com", "must begin with https"),
        ("http://10.0.0.1", "must begin with https"),
        ("otp.example.com", "must be a URL like"),
        ("", "must be a URL like"),
        ("https://", "must be a URL like"),
        ("ftp://otp.example.com", "must be a URL like"),
        ("https://otp.example.com:port", "must be a URL like"),
        ("https://key:worthless@otp.example.com", "the key is api_key"),
        ("https://otp.example.com/?key=worthless", "the key is api_key"),
        ("https://otp.example.com/#worthless", "the key is api_key"),
    ],
)
@pytest.mark.parametrize("kind", [OtpClient, AsyncOtpClient])
def test_an_unsafe_address_is_refused_with_its_remedy(kind, url, remedy):
    """Over http the network would read the API key and the codes."""
    with pytest.raises(ValueError, match="base_url must") as refused:
        kind(url, "worthless")

    assert remedy in str(refused.value)
    assert "worthless" not in str(refused.value)


def test_http_is_allowed_where_the_caller_says_so():
    requests = []
    with OtpClient(
        "http://otp:8000", "worthless", allow_http=True, transport=record_requests(requests)
    ) as client:
        client.check_liveness()

    assert "http://otp:8000/health/live" == str(requests[0].url)


@pytest.mark.parametrize("key", ["", "key\n", "a key", "schlüssel"])
def test_a_key_that_is_no_header_is_refused(key):
    """A file of a key often ends in a line break."""
    with pytest.raises(ValueError, match="api_key must be visible"):
        OtpClient("https://otp.example.com", key)


def test_the_path_of_the_address_is_kept():
    requests = []
    transport = record_requests(requests)
    for url in ("https://example.com/otp", "https://example.com/otp/"):
        with OtpClient(url, "worthless", transport=transport) as client:
            client.check_liveness()

    assert ["https://example.com/otp/health/live"] * 2 == [str(each.url) for each in requests]


def test_the_key_and_the_version_are_headers():
    requests = []
    with OtpClient(
        "https://otp.example.com", "worthless", transport=record_requests(requests)
    ) as client:
        client.check_liveness()

    assert "Bearer worthless" == requests[0].headers["Authorization"]
    assert requests[0].headers["User-Agent"].startswith("otp-service-client/")


@pytest.mark.parametrize("kind", [httpx.Client, httpx.AsyncClient])
def test_proxies_of_the_environment_are_not_used(kind, monkeypatch):
    """They would read every code. Without `trust_env=False` this client has two of them."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example.com:3128")
    options = build_client_options("https://otp.example.com", "worthless", allow_http=False)

    assert {} == kind(**options)._mounts
    assert {} != kind(**options | {"trust_env": True})._mounts


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status):
    """It would send the key and the code to another host."""
    requests = []
    reply = httpx.Response(status, headers={"Location": "https://elsewhere.example.com/"})
    with (
        OtpClient(
            "https://otp.example.com", "k", transport=record_requests(requests, reply)
        ) as client,
        pytest.raises(UnexpectedReply, match="Redirects are not followed") as refused,
    ):
        client.issue_challenge("+447700900123")

    assert 1 == len(requests)
    assert status == refused.value.status


@pytest.mark.parametrize(
    ("operation", "arguments", "seconds"),
    [
        ("issue_challenge", ("+447700900123",), 15),
        ("resend_code", ("c00-0",), 15),
        ("verify_challenge", ("c00-0", "123456"), 5),
        ("create_recovery_codes", ("u-81",), 5),
        ("check_readiness", (), 5),
    ],
)
@pytest.mark.parametrize("timeout", [None, 1.5])
@pytest.mark.parametrize("kind", CLIENT_TYPES)
def test_timeouts_are_those_of_the_guide_or_the_callers(
    kind, operation, arguments, seconds, timeout
):
    """docs/api-guide.md, "Timeouts and repeats"; a connection has 2 s at most."""
    requests = []
    transport = record_requests(requests)
    with (
        CLIENT_TYPES[kind](
            "https://otp.example.com", "worthless", timeout=timeout, transport=transport
        ) as client,
        pytest.raises(UnexpectedReply) if arguments else pytest.MonkeyPatch.context(),
    ):
        getattr(client, operation)(*arguments)

    limits = requests[0].extensions["timeout"]
    assert (timeout or seconds, min(2, timeout or 2)) == (limits["read"], limits["connect"])


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A healthy reply after many spaces, which JSON may begin with."""

    def __init__(self, count, size):
        self.count, self.size = count, size

    def __iter__(self):
        for _ in range(self.count):
            yield b" " * self.size
        yield json.dumps(HEALTHY).encode()

    async def __aiter__(self):
        for chunk in self:
            yield chunk


@pytest.mark.parametrize(
    ("chunks", "step_seconds", "cause"),
    [
        (Chunks(1000, 1), 0.001, None),
        (Chunks(1000, 1), 0.1, "ReadTimeout"),
        (Chunks(17, 2**20), 0, "ReplyTooLargeError"),
    ],
)
@pytest.mark.parametrize("kind", CLIENT_TYPES)
def test_a_reply_has_an_end(kind, chunks, step_seconds, cause, monkeypatch):
    """The timeout of httpx is for each read, so a byte now and then would hold a thread forever."""
    times = itertools.count()
    monkeypatch.setattr(connection, "monotonic", lambda: next(times) * step_seconds)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=chunks))
    with (
        CLIENT_TYPES[kind]("https://otp.example.com", "worthless", transport=transport) as client,
        pytest.raises(ServiceUnreachable, match=cause) if cause else contextlib.nullcontext(),
    ):
        assert "live" == client.check_readiness().mode


async def test_a_client_can_be_closed_without_a_block():
    blocking = OtpClient("https://otp.example.com", "worthless", transport=record_requests([]))
    waiting = AsyncOtpClient("https://otp.example.com", "worthless", transport=record_requests([]))
    assert "live" == blocking.check_readiness().mode
    assert "live" == (await waiting.check_readiness()).mode

    blocking.close()
    await waiting.aclose()

    with pytest.raises(RuntimeError, match="closed"):
        blocking.check_readiness()
    with pytest.raises(RuntimeError, match="closed"):
        await waiting.check_readiness()
