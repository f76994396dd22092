"""The service as it is deployed, in its own processes, for tests that call it from outside.

    with GatewayServer() as gateway, redis_servers.start_server(folder / "redis") as redis:
        with run_service(folder, redis, [gateway.url]) as service:
            service.issue("+447400123456")
            gateway.find_code("+447400123456")

Everything listens on loopback, every wait has a timeout, and every process is stopped by its pid.
"""

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

import otp_service
from otp_service.core.keys import generate_secret
from otp_service.core.tenant import hash_api_key
from otp_service.settings import render_config
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


WAIT_TIMEOUT_SECONDS = redis_servers.WAIT_TIMEOUT_SECONDS

START_TIMEOUT_SECONDS = 90.0
"""The same for the start of the service, whose processes import it all: seconds of computing."""

METRICS_DELAY_SECONDS = 2.0
"""Workers write what they have counted once a second, by a clock of their own, and may be late."""

CODE_PATTERN = re.compile(r"\b\d{6}\b")

REQUEST_LINE_PATTERN = re.compile(r'"event": ?"request"')
"""The line of the log about a request that was answered."""

REPOSITORY_ROOT = Path(otp_service.__file__).parents[1]

SERVICE_PYTHON = os.environ.get("OTP_TESTS_SERVICE_PYTHON", sys.executable)
"""What runs the service: the Python of the tests, or another one, whose environment needs no tests."""
"""The folder of the tested package: its processes import the same one."""

CHEAPEST_HASH_SETTINGS = {
    "HASH__MEMORY_KIB": "8",
    "HASH__PASSES": "1",
    "HASH__ACCEPT_BELOW_OWASP": "true",
}

FEW_PREPARED_CODES = {"HASH__MAX_PREPARED_CODES": "4"}
"""Each process would spend up to three seconds of computing on codes that few tests issue."""

HIDE_TEST_PACKAGES = 'import sys\nsys.modules["attr"] = sys.modules["pydantic"] = None\n'
"""What each started process of the service runs first.

Litestar imports these packages where it finds them. Only tests need them: a service in production has
neither, and each of its processes would spend a seventh of the CPU time of its start on them.
"""

HIGH_CAPACITY_SETTINGS = {
    "HASH__MAX_WAIT_MILLISECONDS": "60000",
    "REDIS__TIMEOUT_MILLISECONDS": "5000",
    "AUDIT__CALLS_PER_MINUTE": "100000",
    "PUMPING__DAY_BUDGET": "1000000000",
}
"""Settings under which only the limits of codes and numbers refuse requests."""


class HttpResponse(NamedTuple):
    """A response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded JSON body."""
        return json.loads(self.body)

    @property
    def problem_type(self) -> str:
        """The last part of the problem type; empty if the response is not a problem."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(self.json["type"]).removeprefix("/problems/")


# ------------------------------------------------------------------------------------------ gateway


class GatewayServer(http.server.ThreadingHTTPServer):
    """A provider on loopback that records every message and then sends the configured reply."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _GatewayHandler)
        self.messages: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/messages"
        self._released = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.accept_messages()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.accept_messages()
        self.shutdown()
        self._thread.join(WAIT_TIMEOUT_SECONDS)
        self.server_close()

    def accept_messages(self) -> None:
        """Reply at once that the message was accepted."""
        self.set_reply(200, {"id": "m-1"})
        self._released.set()

    def set_reply(self, status: int, body: Any, **headers: str) -> None:
        """Send this reply from now on; `{to}`, `{text}` and `{code}` are replaced by the request's."""
        self.status, self.body, self.headers = status, body, headers

    def hold_replies(self) -> None:
        """Record messages, and send no reply until `accept_messages` is called."""
        self._released.clear()

    def wait_for_release(self) -> None:
        """Wait until a reply may be sent."""
        self._released.wait(WAIT_TIMEOUT_SECONDS)

    def list_texts_to(self, number: str) -> list[str]:
        """Return the texts of the messages to this number, oldest first."""
        return [message["text"] for message in list(self.messages) if message["to"] == number]

    def find_code(self, number: str) -> str:
        """Return the code in the newest message to this number."""
        return CODE_PATTERN.findall(self.list_texts_to(number)[-1])[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the client has closed the connection."""


class _GatewayHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body are two segments: the second one would wait 40 ms for the acknowledgement of the first.
    disable_nagle_algorithm = True
    timeout = WAIT_TIMEOUT_SECONDS
    server: GatewayServer

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.messages.append(message)
        self.server.wait_for_release()
        echoed = message | {"code": CODE_PATTERN.findall(message["text"])[0]}
        body = _fill_placeholders(json.dumps(self.server.body), echoed).encode()
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name.replace("_", "-"), _fill_placeholders(value, echoed))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # named by the base class
        """Log nothing."""


def _fill_placeholders(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", json.dumps(value)[1:-1])
    return template


# ----------------------------------------------------------------------------------------- requests


def send_request(  # noqa: PLR0913  # the parts of a request
    port: int,
    method: str,
    path: str,
    *,
    body: Any = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = WAIT_TIMEOUT_SECONDS,
) -> HttpResponse:
    """Send one request on its own connection; bytes are sent unchanged, other bodies as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(
            method, path, _encode_body(body), _build_headers(key, headers, body=body)
        )
        response = connection.getresponse()
        response_headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpResponse(response.status, response_headers, response.read())
    finally:
        connection.close()


def _encode_body(body: Any) -> bytes | None:
    return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()


def _build_headers(
    key: str | None, extra: Mapping[str, str] | None, *, body: Any
) -> dict[str, str]:
    request_headers = {} if body is None else {"Content-Type": "application/json"}
    if key is not None:
        request_headers["Authorization"] = f"Bearer {key}"
    return request_headers | dict(extra or {})


def build_request(
    method: str,
    path: str,
    *,
    body: Any = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of a request."""
    content = _encode_body(body) or b""
    all_headers = {"Host": "127.0.0.1", **_build_headers(key, headers, body=body)}
    lines = [f"{name}: {value}" for name, value in all_headers.items()]
    head = [f"{method} {path} HTTP/1.1", *lines, f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(head).encode() + content


def exchange_bytes(port: int, *segments: bytes, pause_seconds: float = 0.3) -> bytes:
    """Send segments on one connection, and return all received bytes once it is closed.

    The pause makes each segment arrive separately. It is real time: the kernel would join the
    segments, and no server reports when it has read one. Raises TimeoutError if the connection
    stays open.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i, segment in enumerate(segments):
            time.sleep(pause_seconds if i else 0)
            # After a refusal the connection is closed, and nothing reads the rest of a request.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(segment)
        answer = bytearray()
        while received := connection.recv(65536):
            answer += received
        return bytes(answer)


class RawConnection:
    """A connection on which a request can be started and finished later."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unsent = b""

    @classmethod
    async def connect(cls, port: int) -> "RawConnection":
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            return cls(*await asyncio.open_connection("127.0.0.1", port))

    @property
    def local_port(self) -> int:
        """The client's port."""
        return int(self._writer.get_extra_info("sockname")[1])

    async def exchange(self, request: bytes) -> HttpResponse:
        """Send a whole request and return its response."""
        await self.send_partial(request, held_bytes=0)
        return await self.read_response()

    async def send_partial(self, request: bytes, *, held_bytes: int) -> None:
        """Send all but the last `held_bytes` of a request."""
        cut = len(request) - held_bytes
        self._unsent = request[cut:]
        self._writer.write(request[:cut])
        await self._writer.drain()

    async def send_rest(self) -> None:
        """Send the held bytes."""
        self._writer.write(self._unsent)
        await self._writer.drain()

    async def read_response(self) -> HttpResponse:
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            headers = {n.lower(): value for n, _, value in (line.partition(": ") for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return HttpResponse(int(first.split(" ")[1]), headers, body)

    def close(self) -> None:
        self._writer.close()


class RunningService:
    """A running service, and its API keys by name."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        log: Path,
        *,
        port: int,
        admin_port: int,
        keys: Mapping[str, str],
    ) -> None:
        self.process = process
        self.log = log
        self.port, self.admin_port = port, admin_port
        self.keys = keys
        self.responses: list[HttpResponse] = []
        """Every response to `send_request`."""

    def send_request(
        self, method: str, path: str, *, by: str = "shop", listener: str = "port", **more: Any
    ) -> HttpResponse:
        """Send a request with the API key `by`; an empty name sends no key."""
        key = self.keys[by] if by else None
        answer = send_request(getattr(self, listener), method, path, key=key, **more)
        self.responses.append(answer)
        return answer

    def issue(self, number: str, *, by: str = "shop", key: str = "", **more: Any) -> HttpResponse:
        """Issue a code; `key` is an Idempotency-Key."""
        body = {"phone_number": number} | more
        return self.send_request(
            "POST", "/v1/challenges", by=by, body=body, headers=_build_idempotency_header(key)
        )

    def deliver(
        self, number: str, code: Any, *, by: str = "bank", key: str = "", **more: Any
    ) -> HttpResponse:
        """Send a code of another product; `key` is an Idempotency-Key."""
        body = {"phone_number": number, "code": code} | more
        return self.send_request(
            "POST", "/v1/deliveries", by=by, body=body, headers=_build_idempotency_header(key)
        )

    def verify(
        self, issued: HttpResponse, code: Any, *, by: str = "shop", key: str = "", **more: Any
    ) -> HttpResponse:
        """Verify a code; `key` is an Idempotency-Key."""
        path, body = build_verify_path(issued), {"code": code} | more
        return self.send_request(
            "POST", path, by=by, body=body, headers=_build_idempotency_header(key)
        )

    def resend(self, issued: HttpResponse, *, by: str = "shop", key: str = "") -> HttpResponse:
        path = f"/v1/challenges/{issued.json['id']}/resend"
        return self.send_request("POST", path, by=by, headers=_build_idempotency_header(key))

    def view(self, issued: HttpResponse, *, by: str = "shop") -> HttpResponse:
        return self.send_request("GET", f"/v1/challenges/{issued.json['id']}", by=by)

    def is_ready(self) -> bool:
        """Return whether the service reports readiness; it may not listen yet."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return send_request(self.port, "GET", "/health/ready", timeout=5).status == 200
        return False

    def fetch_events(self, **query: str) -> list[dict[str, Any]]:
        """Return events, newest first, as an operator sees them."""
        path = f"/v1/audit/events?{urlencode({'limit': '1000', **query})}"
        events: list[dict[str, Any]] = self.send_request("GET", path, by="security").json["events"]
        return events

    def fetch_metrics(self) -> str:
        """Return the Prometheus page."""
        return self.send_request("GET", "/metrics", by="", listener="admin_port").body.decode()

    def count_samples(self, name: str, **labels: str) -> int:
        """Return the sum of a metric's samples with these labels, counted until now."""
        time.sleep(METRICS_DELAY_SECONDS)
        families = text_string_to_metric_families(self.fetch_metrics())
        samples = [s for f in families for s in f.samples if s.name == name]
        return int(sum(s.value for s in samples if labels.items() <= s.labels.items()))

    def fetch_inbox(self) -> list[dict[str, str]]:
        """Return the messages in the inbox of `dev`, newest first."""
        messages: list[dict[str, str]] = send_request(self.admin_port, "GET", "/inbox.json").json
        return messages

    def read_complete_log(self) -> str:
        """Return the log once it has a line for each of `responses`: a worker writes it after the answer."""

        def is_complete() -> bool:
            lines = self.log.read_text().splitlines()
            logged = [line for line in lines if REQUEST_LINE_PATTERN.search(line)]
            return sum("/health/ready" not in line for line in logged) >= len(self.responses)

        redis_servers.wait_until(is_complete, description="the line of the last request")
        return self.log.read_text()

    # ------------------------------------------------------------------------------------------ workers

    def list_worker_pids(self) -> list[int]:
        """Return the pids of its living workers, which the log lists."""
        pids = map(int, re.findall(r'"worker (\d+) serves', self.log.read_text()))
        return [pid for pid in pids if _is_alive(pid)]

    def wait_for_two_workers(self) -> list[int]:
        """Return the pids of the two workers, once both serve and neither is stopping."""
        seen: list[list[int]] = [[], []]

        def has_two_workers() -> bool:
            seen.append(self.list_worker_pids())
            time.sleep(0.3)  # the supervisor checks its workers twice a second
            return len(seen[-1]) == 2 and seen[-1] == seen[-2] == self.list_worker_pids()

        redis_servers.wait_until(
            has_two_workers, timeout_seconds=WAIT_TIMEOUT_SECONDS, description="two workers"
        )
        return seen[-1]

    @contextlib.contextmanager
    def suspend_workers(self, *workers: int) -> Iterator[None]:
        """Suspend workers for a moment; their supervisor replaces a worker suspended for seconds."""
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):  # replaced, on a slow machine
                    os.kill(worker, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def open_connections(self, count: int) -> AsyncIterator[list[RawConnection]]:
        """Open connections to both workers in turn; the workers' own connections are open, too.

        The kernel chooses the worker of a connection by a hash of its ports.
        """
        halves: dict[int, list[RawConnection]] = {pid: [] for pid in self.wait_for_two_workers()}
        size = (count + 1) // 2
        while any(len(half) < size for half in halves.values()):
            connection = await self._open_accepted_connection()
            half = halves[_find_owner(connection.local_port, [*halves])]
            if len(half) < size:
                half.append(connection)
            else:
                connection.close()
        pairs = zip(*halves.values(), strict=True)
        connections = [connection for pair in pairs for connection in pair]
        # A connection to Redis that is opened first would delay a request.
        request = build_request("GET", f"/v1/challenges/c00-{'0' * 32}", key=self.keys["shop"])
        await asyncio.gather(*(connection.exchange(request) for connection in connections))
        try:
            yield connections[:count]
        finally:
            for connection in connections:
                connection.close()

    async def send_together(
        self, requests: Sequence[bytes], *, held_bytes: int = 1
    ) -> list[HttpResponse]:
        """Start every request, hold its last bytes, and send all last bytes together."""
        async with self.open_connections(len(requests)) as connections:
            await self.start_together(connections, requests, held_bytes=held_bytes)
            return await asyncio.gather(*(connection.read_response() for connection in connections))

    async def start_together(
        self,
        connections: Sequence[RawConnection],
        requests: Sequence[bytes],
        *,
        held_bytes: int = 1,
    ) -> None:
        """Start the requests in this way, and leave their responses unread."""
        for connection, request in zip(connections, requests, strict=True):
            await connection.send_partial(request, held_bytes=held_bytes)
        await asyncio.sleep(0.2)  # the service does not report that it has read the bytes
        with self.suspend_workers(*self.list_worker_pids()):
            for connection in connections:
                await connection.send_rest()

    async def _open_accepted_connection(self) -> RawConnection:
        """Return a connection that a worker has accepted."""
        connection = await RawConnection.connect(self.port)
        await connection.exchange(build_request("GET", "/health/live"))
        return connection


def build_verify_path(issued: HttpResponse) -> str:
    """Return the path at which a challenge is verified."""
    return f"/v1/challenges/{issued.json['id']}/verify"


def _build_idempotency_header(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def _find_owner(client_port: int, workers: Sequence[int]) -> int:
    """Return the worker that has accepted the connection from this port."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if int(row[2].rpartition(":")[2], 16) == client_port}
    for worker in workers:
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if str(descriptor.readlink())[8:-1] in inodes:
                    return worker
    raise RuntimeError(f"no worker has a connection from port {client_port}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text() if Path("/proc").exists() else ") S"
    except (ProcessLookupError, FileNotFoundError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # killed, and not yet reaped by its parent


# ----------------------------------------------------------------------------------- start and stop


@contextlib.contextmanager
def run_service(
    folder: Path,
    redis: EmbeddedServer,
    gateways: Sequence[str],
    *,
    workers: int = 2,
    sitecustomize: str = "",
    **environment: str,
) -> Iterator[RunningService]:
    """Run `otp-service serve`, with the tenants `shop` and `bank`; settings as in `SERVICE__PORT`.

    Its keys are those of the two tenants, of which `bank` sees its events, and `security`, which
    sees all of them and may unlock. `sitecustomize` is Python code that each of its processes runs
    first. If `redis` is a Sentinel, it is asked for the master `otp`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = int(environment.get("SERVICE__PORT") or redis_servers.find_free_port())
    admin_port = redis_servers.find_free_port()
    place = f'url = "{redis.url}"'
    if isinstance(redis, redis_servers.SentinelServer):
        place = f'sentinel = ["127.0.0.1:{redis.port}"]\nmaster = "otp"'
    keys = _write_config(folder / "otp.toml", place, gateways)
    settings = {
        "SERVICE__PORT": str(port),
        "SERVICE__ADMIN_PORT": str(admin_port),
        "SERVICE__WORKERS": str(workers),
        **environment,
    }
    command = ["serve", "--config", str(folder / "otp.toml")]
    with _start_command(command, folder / "serve.log", settings, sitecustomize) as (process, log):
        service = RunningService(process, log, port=port, admin_port=admin_port, keys=keys)
        _wait_until(service.is_ready, process, log)
        _wait_until(lambda: len(service.list_worker_pids()) == workers, process, log)
        yield service


def _write_config(path: Path, redis: str, gateways: Sequence[str]) -> dict[str, str]:
    """Write the output of `init` and the additions of the tests; return the API keys."""
    text, shop = render_config(
        tenant="shop",
        brand="Shop",
        countries=["GB", "US"],
        generate_token=lambda: generate_secret(os.urandom),
        provider_url=gateways[0],
    )
    keys = {"shop": shop, "bank": secrets.token_urlsafe(32), "security": secrets.token_urlsafe(32)}
    text = text.replace('url = "redis://127.0.0.1:6379/0"', redis)
    text += _format_tenant("bank", keys["bank"], ["challenges", "deliver", "audit"])
    text += _format_tenant("security", keys["security"], ["audit-all", "operator"])
    for i, url in enumerate(gateways[1:], start=2):
        text += f'[providers.gateway{i}]\ntype = "http"\nurl = "{url}"\nmessage_id = "id"\n'
        text += 'fields = { to = "{to}", text = "{text}" }\n'
    names = ["gateway", *(f"gateway{i}" for i in range(2, len(gateways) + 1))]
    path.write_text(text.replace('providers = ["gateway"]', f"providers = {json.dumps(names)}"))
    return keys


def _format_tenant(name: str, key: str, scopes: Sequence[str]) -> str:
    hashed = hash_api_key(key).hex()
    return f"""
[tenants.{name}]
brand = "{name.title()}"
countries = ["GB", "US"]
keys = [{{ id = "first", sha256 = "{hashed}", scopes = {json.dumps(scopes)} }}]
"""


@contextlib.contextmanager
def run_dev(
    data: Path, *options: str, sitecustomize: str = "", **environment: str
) -> Iterator[RunningService]:
    """Run `otp-service dev` on free ports; its log is the output that a user sees.

    `sitecustomize` is as for `run_service`.
    """
    command = ["dev", "--port", "0", "--admin-port", "0", "--data", str(data), *options]
    log_path = data.with_suffix(".log")
    with _start_command(command, log_path, environment, sitecustomize) as (process, log):
        _wait_until(
            lambda: "Then read its events in the audit log" in log.read_text(), process, log
        )
        output = log.read_text()
        port, admin_port = (
            int(port_text) for port_text in re.findall(r"//127\.0\.0\.1:(\d+)\b", output)[:2]
        )
        key = re.findall(r"API key +(\S+)", output)[0]
        yield RunningService(process, log, port=port, admin_port=admin_port, keys={"dev": key})


@contextlib.contextmanager
def _start_command(
    command: Sequence[str], log: Path, environment: Mapping[str, str], sitecustomize: str = ""
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """Run a command of the service; its output is written to the log."""
    (log.parent / "sitecustomize.py").write_text(HIDE_TEST_PACKAGES + sitecustomize)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTP_")}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [SERVICE_PYTHON, "-m", "otp_service", *command],
            cwd=REPOSITORY_ROOT,
            env=inherited
            | {
                f"OTP_{name}": value
                for name, value in {**FEW_PREPARED_CODES, **environment}.items()
            }
            | {"PYTHONPATH": f"{log.parent}{os.pathsep}{REPOSITORY_ROOT}"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            process_group=0,
        )
    try:
        yield process, log
    finally:
        stop_process(process)


def stop_process(
    process: "subprocess.Popen[bytes]", timeout_seconds: float = WAIT_TIMEOUT_SECONDS
) -> int:
    """Terminate a process, by force after the timeout; return its exit code."""
    process.terminate()
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait(timeout_seconds)


def run_command(*command: str, **environment: str) -> tuple[int, str]:
    """Run a command that ends at once; return its exit code and its output."""
    result = subprocess.run(
        [SERVICE_PYTHON, "-m", "otp_service", *command],
        cwd=REPOSITORY_ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_TIMEOUT_SECONDS,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def delete_cooldowns(redis: EmbeddedServer) -> None:
    """Delete the cooldown of every number, which is 30 s and cannot be configured shorter."""
    with redis_servers.open_client(redis) as client:
        for key in client.scan_iter("*:limit:CooldownPerNumber:*"):
            client.delete(key)


def _wait_until(condition: Any, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the service did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)  # it cannot notify the test
