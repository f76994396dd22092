"""A1 behind a proxy: no client receives the response to a request of another client.

Clients without a key send requests whose body is a request, through the proxy that a login back end
uses too. If the service answered such a body, the proxy would give that response, a 200, to the next
request on the same connection: to a verify of a wrong code, for example.
"""

import contextlib
import http.client
import json
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.attacks import proxies
from tests.attacks.raw_http import RawClient
from tests.installation import make_wrong_code
from tests.processes import (
    CHEAPEST_HASH_SETTINGS,
    HIGH_CAPACITY_SETTINGS,
    GatewayServer,
    HttpResponse,
    RunningService,
    build_verify_path,
    run_service,
    send_request,
)


pytestmark = pytest.mark.slow

REQUESTS = int(os.environ.get("OTP_PROXY_REQUESTS", "100"))
"""Verifies of wrong codes behind each proxy."""

BACK_END_THREADS, CHALLENGES = (
    3,
    25,
)  # five wrong codes each, for all proxies below FailuresPerTenant

OWN_PROBLEMS = {"incorrect-code", "challenge-locked", "rate-limited", "challenge-expired"}
"""The answers to a verify of a wrong code. Any other is the answer to another request."""

INNER = b"GET /health/ready HTTP/1.1\r\nHost: otp.example.com\r\n\r\n"
"""It asks Redis, so its response would come when the proxy has given the connection to another client."""

PADDING = b"\r\n" * 50_000
"""A proxy sends a large body in several segments, and a parser skips empty lines before a request."""


def build_attack(protocol: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return head and body of a request for which no key is needed."""
    head = (
        b"POST /v1/callbacks/a HTTP/1.1\r\nHost: otp.example.com\r\nConnection: Upgrade\r\n"
        b"Upgrade: %b\r\nContent-Length: %d\r\n\r\n" % (protocol, len(body))
    )
    return head, body


ATTACKS = [
    build_attack(b"h2c", INNER),
    build_attack(b"websocket", PADDING + INNER),
    build_attack(b"h2c", INNER * 3),
    build_attack(b"anything/1", PADDING + INNER * 3),
]


@pytest.fixture(scope="module")
def proxied_service(
    tmp_path_factory: pytest.TempPathFactory, redis: EmbeddedServer, gateway: GatewayServer
) -> Iterator[RunningService]:
    """Return a service with one worker, so that all clients share its connections."""
    folder = tmp_path_factory.mktemp("proxied")
    settings = HIGH_CAPACITY_SETTINGS | CHEAPEST_HASH_SETTINGS
    with run_service(folder, redis, [gateway.url], workers=1, **settings) as service:
        yield service


@pytest.fixture(
    params=["nginx", "nginx literal", "nginx map", "haproxy safe", "haproxy always", "caddy"],
)
def proxy_port(
    request: pytest.FixtureRequest, proxied_service: RunningService, tmp_path: Path
) -> Iterator[int]:
    """Return the port of each proxy in turn: as documented, with WebSocket lines, with reuse."""
    program, _, variant = request.param.partition(" ")
    folder, port = tmp_path / "proxy", proxied_service.port
    with proxies.run_proxy(program, folder, port, variant) as proxy_port:
        yield proxy_port


def test_no_verify_gets_the_answer_of_another_client(
    proxied_service: RunningService,
    gateway: GatewayServer,
    generate_number: Callable[[], str],
    proxy_port: int,
) -> None:
    """With uvicorn, 42 of 50 verifies of wrong codes were 200."""
    guesses = []
    for number in (generate_number() for _ in range(CHALLENGES)):
        path = build_verify_path(proxied_service.issue(number))
        guesses.append((path, make_wrong_code(gateway.find_code(number))))

    answers, attacks = attack_verifies(proxy_port, guesses, proxied_service.keys["shop"])

    assert attacks > len(ATTACKS)
    assert REQUESTS == sum(answers.values())
    assert {} == {answer: n for answer, n in answers.items() if answer not in OWN_PROBLEMS}


@pytest.mark.parametrize("program", ["nginx", "haproxy", "caddy"])
def test_twilios_paths_are_forwarded(
    proxied_service: RunningService, tmp_path: Path, program: str
) -> None:
    """As those of our own API, and nothing of the admin listener."""
    with proxies.run_proxy(program, tmp_path / "proxy", proxied_service.port, "") as port:
        services = send_request(port, "GET", "/twilio/v2/Services")
        admin = send_request(port, "GET", "/metrics")

    assert (401, 20003) == (services.status, services.json["code"])
    assert 404 == admin.status


def attack_verifies(
    port: int, guesses: list[tuple[str, str]], key: str
) -> tuple[Counter[str], int]:
    """Verify wrong codes while other clients attack; return the answers, and the attacks."""
    ended = threading.Event()
    with ThreadPoolExecutor(BACK_END_THREADS + len(ATTACKS)) as pool:
        attackers = [pool.submit(send_attacks, port, attack, ended) for attack in ATTACKS]
        share, rest = divmod(REQUESTS, BACK_END_THREADS)
        counts = [share + (i < rest) for i in range(BACK_END_THREADS)]
        back_ends = [pool.submit(verify_wrong_codes, port, guesses, key, n) for n in counts]
        try:
            answers = sum((each.result() for each in back_ends), Counter[str]())
        finally:
            ended.set()
        return answers, sum(each.result() for each in attackers)


def send_attacks(port: int, attack: tuple[bytes, bytes], ended: threading.Event) -> int:
    """Send the same request again and again, on connections that are kept open; return how often."""
    sent = 0
    while not ended.is_set():
        with contextlib.suppress(OSError), RawClient(port) as client:
            for _ in range(50):
                client.send(*attack, pause_seconds=0.002)
                sent += 1
                if client.read_response() is None or ended.is_set():
                    break
    return sent


def verify_wrong_codes(
    port: int, guesses: list[tuple[str, str]], key: str, count: int
) -> Counter[str]:
    """Verify wrong codes as a back end does, one after the other; return the kinds of answers."""
    answers: Counter[str] = Counter()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    headers["Host"] = "otp.example.com"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for i in range(count):
        path, code = guesses[i % len(guesses)]
        connection.request("POST", path, json.dumps({"code": code}), headers)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        answer = HttpResponse(response.status, fields, response.read())
        answers[answer.problem_type or str(answer.status)] += 1
    connection.close()
    return answers


@pytest.fixture(params=[*proxies.WRITERS])
def tls_client(
    request: pytest.FixtureRequest,
    proxied_service: RunningService,
    tmp_path: Path,
    certificate: Path,
) -> Iterator["TlsClient"]:
    """Return a client of each documented proxy with TLS, once it passes requests on."""
    service_port, folder = proxied_service.port, tmp_path / "proxy"
    run = proxies.run_proxy(request.param, folder, service_port, certificate=certificate)
    with run as port:
        client = TlsClient(port, certificate, proxied_service.keys["shop"])
        client.wait_until_ready()
        yield client


def test_the_documented_configuration_serves_the_api_over_tls(
    tls_client: "TlsClient", gateway: GatewayServer, number: str
) -> None:
    """The files of deploy/: issue and verify pass, and nothing else of the service is reached."""
    issued = tls_client.send("POST", "/v1/challenges", {"phone_number": number})
    code = gateway.find_code(number)
    verified = tls_client.send("POST", build_verify_path(issued), {"code": code})
    paths = (
        "/metrics",
        "/health/live",
        "/",
        "/v1%2fchallenges",
        "/v1//challenges",
        "/V1/challenges",
    )
    hidden = [tls_client.send("GET", path).status for path in paths]

    assert (201, 200, "verified") == (issued.status, verified.status, verified.json["status"])
    assert [404] * len(paths) == hidden


class TlsClient:
    """A login back end that reaches the service through a proxy with TLS."""

    def __init__(self, port: int, certificate: Path, key: str) -> None:
        self._port, self._key = port, key
        self._context = ssl.create_default_context(cafile=str(certificate))

    def send(self, method: str, path: str, body: object = None) -> HttpResponse:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=30, context=self._context
        )
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, headers)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        answer = HttpResponse(response.status, fields, response.read())
        connection.close()
        return answer

    def wait_until_ready(self) -> None:
        """Wait until the proxy has seen the service healthy."""
        deadline = time.monotonic() + 10
        while self.send("GET", "/health/ready").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)  # HAProxy checks every two seconds
