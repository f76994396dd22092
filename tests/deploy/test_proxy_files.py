"""deploy/nginx, deploy/haproxy and deploy/caddy: what their own programs and this service make of them.

tests/attacks/test_proxies.py runs each of them in front of a service.
"""

import http.server
import re
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from otp_service.api.callbacks import MAX_CALLBACK_BYTES
from otp_service.api.request_body import BODY_TIMEOUT_SECONDS
from otp_service.settings.service_tables import RoutingSettings, ServiceSettings
from tests.attacks import proxies
from tests.processes import send_request
from tests.store.redis_servers import find_free_port, wait_until


SECONDS_BESIDES_SENDING = 5
"""Of an issue: argon2, Redis and its repeats, and the hand-over to the last provider."""

FILES = {
    "nginx": proxies.NGINX_SITE,
    "haproxy": proxies.HAPROXY_CONFIG,
    "caddy": proxies.CADDYFILE,
}


def read_directives(program: str) -> str:
    """Return the file without its comments."""
    return re.sub(r"#.*", "", FILES[program].read_text())


class Timeouts(NamedTuple):
    """The directives of one proxy, in seconds: each a pattern with the number."""

    header: str
    response: str
    idle_connection: str


TIMEOUTS = {
    "nginx": Timeouts(
        r"client_header_timeout (\d+)s", r"proxy_read_timeout (\d+)s", r" keepalive_timeout (\d+)s"
    ),
    "haproxy": Timeouts(
        r"timeout http-request (\d+)s", r"timeout server (\d+)s", r"timeout http-keep-alive (\d+)s"
    ),
    "caddy": Timeouts(
        r"read_header (\d+)s", r"response_header_timeout (\d+)s", r"keepalive (\d+)s"
    ),
}


@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("program", FILES)
def test_the_program_itself_accepts_the_file(program, has_tls, tmp_path, certificate):
    """`nginx -t`, `haproxy -c` and `caddy validate`, as an operator runs them before a reload."""
    write, port = proxies.WRITERS[program], find_free_port()
    command = write(tmp_path, port, 8000, certificate=certificate if has_tls else None)
    check = [*command, "-t"] if program == "nginx" else [*command, "-c"]
    if program == "caddy":
        check = ["validate" if word == "run" else word for word in command]

    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)

    assert 0 == done.returncode, done.stderr
    assert "emerg" not in done.stderr


@pytest.mark.parametrize("program", FILES)
def test_a_proxy_waits_as_long_as_an_issue_takes(program):
    """A proxy that gives up earlier answers 504 to a call whose message was sent."""
    (seconds,) = re.findall(TIMEOUTS[program].response, read_directives(program))

    assert int(seconds) > RoutingSettings().deadline_seconds + SECONDS_BESIDES_SENDING


@pytest.mark.parametrize("program", FILES)
def test_a_proxy_uses_no_connection_that_the_service_is_about_to_close(program):
    """A request on a connection that is being closed is lost: a 502 for the back end."""
    (seconds,) = re.findall(TIMEOUTS[program].idle_connection, read_directives(program))

    assert int(seconds) < ServiceSettings().idle_seconds


@pytest.mark.parametrize("program", FILES)
def test_a_proxy_bounds_the_time_for_a_header(program):
    """The service itself waits `idle_seconds` for one: half a header would keep a connection so long."""
    (seconds,) = re.findall(TIMEOUTS[program].header, read_directives(program))

    assert int(seconds) < ServiceSettings().idle_seconds


@pytest.mark.parametrize("program", FILES)
def test_the_admin_listener_is_behind_no_proxy_on_the_internet(program):
    """R63: its metrics need no key."""
    directives = read_directives(program)

    assert re.search(r"127\.0\.0\.1:8000\b", directives)
    assert str(ServiceSettings().admin_port) not in directives
    assert not re.search(r"metrics|/audit|/status|/docs", directives)


@pytest.mark.parametrize("program", FILES)
def test_no_proxy_sends_a_call_twice(program):
    """It could send two messages. The caller repeats a call under its Idempotency-Key."""
    directives = read_directives(program)

    never = {"nginx": "proxy_next_upstream off;", "haproxy": "retries 0"}
    if program in never:
        assert never[program] in directives
    assert not re.search(r"lb_retries|lb_try_duration|option redispatch|retry-on", directives)


@pytest.mark.parametrize(
    ("program", "pattern"),
    [("nginx", r"client_max_body_size (\d+)k;"), ("caddy", r"max_size (\d+)KiB")],
)
def test_a_proxy_passes_the_largest_body_on(program, pattern):
    """Receipts of several messages are larger than any other body. HAProxy passes any size."""
    (kibibytes,) = re.findall(pattern, read_directives(program))

    assert MAX_CALLBACK_BYTES == int(kibibytes) * 1024


def test_caddy_reads_a_body_for_as_long_as_the_service_does():
    """Its timeout is for the whole body; those of nginx and HAProxy are for a pause within it."""
    (seconds,) = re.findall(r"read_body (\d+)s", read_directives("caddy"))

    assert BODY_TIMEOUT_SECONDS == int(seconds)


class AcceptingHandler(http.server.BaseHTTPRequestHandler):
    """Answers 204 to every call, health checks included."""

    def do_GET(self) -> None:
        """Answer after the body was read."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.end_headers()

    def do_POST(self) -> None:
        """Answer in the same way."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.mark.parametrize("program", FILES)
def test_no_access_log_has_the_secret_of_an_address(program, tmp_path):
    """Those of providers have a token in the query, which proves receipts and messages from phones."""
    token = "worthless-token-of-inbound"
    folder, path = tmp_path / "proxy", f"/v1/inbound/acme?token={token}"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AcceptingHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with proxies.run_proxy(program, folder, server.server_port) as port:
            assert 204 == send_request(port, "POST", path, body=b"text=STOP").status
            if program == "nginx":
                wait_for_line(folder / "otp-service.log", '"POST /v1/inbound/acme" 204')
        server.shutdown()

    texts = {path.name: path.read_text() for path in folder.rglob("*.log")}
    assert not [name for name, text in texts.items() if token in text]


def wait_for_line(log: Path, text: str) -> None:
    """Wait for a line: nginx writes it after the answer, and loses it when it is terminated before."""
    wait_until(lambda: text in log.read_text(), description=f"{text} in {log.name}")
