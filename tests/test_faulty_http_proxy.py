"""The proxy with which client libraries are tested loses what it says, after the service has run it."""

import http.client
from collections.abc import Iterator

import pytest

from tests.faulty_http_proxy import FaultyHttpProxy, HttpFailure
from tests.processes import WAIT_TIMEOUT_SECONDS, GatewayServer, HttpResponse, send_request


MESSAGE = {"to": "+447700900123", "text": "Your code is 123456."}


@pytest.fixture
def gateway() -> Iterator[GatewayServer]:
    """Return a server that records what it was asked."""
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture
def proxy(gateway: GatewayServer) -> Iterator[FaultyHttpProxy]:
    """Return the proxy to it."""
    with FaultyHttpProxy(gateway.server_port) as proxy:
        yield proxy


def call(proxy: FaultyHttpProxy, timeout_seconds: float = WAIT_TIMEOUT_SECONDS) -> HttpResponse:
    """Send a message through the proxy."""
    headers = {"Idempotency-Key": "k-1"}
    port = proxy.server_port
    return send_request(
        port, "POST", "/messages", body=MESSAGE, headers=headers, timeout=timeout_seconds
    )


def test_it_forwards_requests_and_replies(gateway: GatewayServer, proxy: FaultyHttpProxy) -> None:
    """Without a fault nothing is changed, and the request is recorded."""
    reply = call(proxy)

    assert (200, {"id": "m-1"}) == (reply.status, reply.json)
    assert [MESSAGE] == gateway.messages
    assert ["k-1"] == [request.headers["idempotency-key"] for request in proxy.requests]


@pytest.mark.parametrize(
    ("failure", "error", "messages"),
    [
        (HttpFailure.LOST_REQUEST, http.client.RemoteDisconnected, 0),
        (HttpFailure.LOST_REPLY, http.client.RemoteDisconnected, 1),
        (HttpFailure.HALF_REPLY, http.client.IncompleteRead, 1),
        (HttpFailure.SILENCE, TimeoutError, 1),
    ],
    ids=lambda value: value.name if isinstance(value, HttpFailure) else "",
)
def test_it_loses_a_reply(
    gateway: GatewayServer,
    proxy: FaultyHttpProxy,
    failure: HttpFailure,
    error: type[Exception],
    messages: int,
) -> None:
    """The service runs the request in all cases but one, and the next request is forwarded again."""
    proxy.fail_next(failure)

    with pytest.raises(error):
        call(proxy, timeout_seconds=0.5 if failure is HttpFailure.SILENCE else WAIT_TIMEOUT_SECONDS)

    assert messages == len(gateway.messages)
    assert 200 == call(proxy).status


def test_it_sends_a_reply_of_its_own(gateway: GatewayServer, proxy: FaultyHttpProxy) -> None:
    """As another process asks for."""
    reply = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    send_request(proxy.server_port, "POST", "/faults", body={"reply": reply, "times": 1})

    redirect = call(proxy)

    assert (302, "close") == (redirect.status, redirect.headers["connection"])
    assert [] == gateway.messages
    assert 1 == len(send_request(proxy.server_port, "GET", "/requests").json)
