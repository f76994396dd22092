"""The service as its users run it, in processes of its own: for tests that come from outside.

    with Gateway() as gateway, servers.start_server(folder / "redis") as redis:
        with serve(folder, redis, [gateway.url]) as service:
            service.issue("+447400123456")
            gateway.find_code("+447400123456")

Everything listens on loopback, every wait has an end, and every process is stopped by its pid.
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
from otp_service.core.tenant import hash_api_key
from otp_service.settings import render_config
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


WAIT_TIMEOUT_SECONDS = 30.0
"""Seconds after which nothing is waited for any more; long, for the machine may be busy."""

CODE_PATTERN = re.compile(r"\b\d{6}\b")

REPOSITORY_ROOT = Path(otp_service.__file__).parents[1]
"""Where the package that is tested lies: its processes import the same one."""

CHEAPEST_HASH_SETTINGS = {
    "HASH__MEMORY_KIB": "8",
    "HASH__PASSES": "1",
    "HASH__ACCEPT_BELOW_OWASP": "true",
}

HIGH_CAPACITY_SETTINGS = {
    "HASH__QUEUE": "2000",
    "REDIS__POOL": "200",
    "REDIS__TIMEOUT_MILLISECONDS": "5000",
}
"""So that nothing but the limits of codes and numbers stands in an attack's way."""


class HttpResponse(NamedTuple):
    """What came back; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as a value."""
        return json.loads(self.body)

    @property
    def problem_type(self) -> str:
        """The slug of its problem; empty if it is none."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(self.json["type"]).removeprefix("/problems/")


# ------------------------------------------------------------------------------------- gateway


class GatewayServer(http.server.ThreadingHTTPServer):
    """A provider on loopback: prints every message, and then answers as it was told."""

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
        """Answer at once that the message was accepted."""
        self.set_reply(200, {"id": "m-1"})
        self._released.set()

    def set_reply(self, status: int, body: Any, **headers: str) -> None:
        """Answer with this from now on; `{to}`, `{text}` and `{code}` in it are what came."""
        self.status, self.body, self.headers = status, body, headers

    def hold_replies(self) -> None:
        """Print and answer nothing, until it recovers."""
        self._released.clear()

    def wait_for_release(self) -> None:
        """Come back when it may answer."""
        self._released.wait(WAIT_TIMEOUT_SECONDS)

    def list_texts_to(self, number: str) -> list[str]:
        """Return the texts that went to this number, oldest first."""
        return [message["text"] for message in list(self.messages) if message["to"] == number]

    def find_code(self, number: str) -> str:
        """Return the code in the newest message to this number."""
        return CODE_PATTERN.findall(self.list_texts_to(number)[-1])[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever asked has hung up."""


class _GatewayHandler(http.server.BaseHTTPRequestHandler):
    """One connection to the gateway."""

    protocol_version = "HTTP/1.1"
    timeout = WAIT_TIMEOUT_SECONDS
    server: GatewayServer

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.messages.append(message)
        self.server.wait_for_release()
        echoed = message | {"code": CODE_PATTERN.findall(message["text"])[0]}
        said = _fill_placeholders(json.dumps(self.server.body), echoed).encode()
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name.replace("_", "-"), _fill_placeholders(value, echoed))
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *said: Any) -> None:  # noqa: A002  # its own name for it
        """Say nothing."""


def _fill_placeholders(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", json.dumps(value)[1:-1])
    return template


# ------------------------------------------------------------------------------------- calling


def send_request(  # noqa: PLR0913  # what a request is made of
    port: int,
    method: str,
    path: str,
    *,
    body: Any = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = WAIT_TIMEOUT_SECONDS,
) -> HttpResponse:
    """Make one request on a connection of its own; bytes go out as they are, all else as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(
            method, path, _encode_body(body), _build_headers(key, headers, body=body)
        )
        response = connection.getresponse()
        said = {name.lower(): value for name, value in response.getheaders()}
        return HttpResponse(response.status, said, response.read())
    finally:
        connection.close()


def _encode_body(body: Any) -> bytes | None:
    return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()


def _build_headers(
    key: str | None, extra: Mapping[str, str] | None, *, body: Any
) -> dict[str, str]:
    made = {} if body is None else {"Content-Type": "application/json"}
    if key is not None:
        made["Authorization"] = f"Bearer {key}"
    return made | dict(extra or {})


def build_request(
    method: str,
    path: str,
    *,
    body: Any = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a request as it goes over the wire."""
    content = _encode_body(body) or b""
    made = {"Host": "127.0.0.1", **_build_headers(key, headers, body=body)}
    lines = [f"{name}: {value}" for name, value in made.items()]
    head = [f"{method} {path} HTTP/1.1", *lines, f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(head).encode() + content


def exchange_bytes(port: int, *segments: bytes, pause_seconds: float = 0.3) -> bytes:
    """Send segments on one connection, and return all that comes back until it is closed.

    The pause makes each segment arrive on its own. The clock cannot be moved: it is the kernel
    that would join them, and no server tells when it has read one. Raises TimeoutError if the
    connection stays open.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i, segment in enumerate(segments):
            time.sleep(pause_seconds if i else 0)
            # After a refusal the connection is closed, and the rest of a request has no reader.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(segment)
        answer = bytearray()
        while received := connection.recv(65536):
            answer += received
        return bytes(answer)


class RawConnection:
    """A connection on which a request can be begun, and finished later."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unsent = b""

    @classmethod
    async def connect(cls, port: int) -> "RawConnection":
        """Connect."""
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def exchange(self, request: bytes) -> HttpResponse:
        """Send a whole request and return its answer."""
        await self.send_partial(request, held_bytes=0)
        return await self.read_response()

    async def send_partial(self, request: bytes, *, held_bytes: int) -> None:
        """Send all but the last bytes of a request."""
        cut = len(request) - held_bytes
        self._unsent = request[cut:]
        self._writer.write(request[:cut])
        await self._writer.drain()

    async def send_rest(self) -> None:
        """Send what is held back."""
        self._writer.write(self._unsent)
        await self._writer.drain()

    async def read_response(self) -> HttpResponse:
        """Return the answer."""
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            headers = {n.lower(): value for n, _, value in (line.partition(": ") for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return HttpResponse(int(first.split(" ")[1]), headers, body)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class RunningService:
    """A service that runs, and the keys of those who may call it."""

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
        """Every answer that was given to `call`."""

    def send_request(
        self, method: str, path: str, *, by: str = "shop", listener: str = "port", **more: Any
    ) -> HttpResponse:
        """Call it with one of its keys; an empty name is nobody's."""
        key = self.keys[by] if by else None
        answer = send_request(getattr(self, listener), method, path, key=key, **more)
        self.responses.append(answer)
        return answer

    def issue(self, number: str, *, by: str = "shop", key: str = "", **more: Any) -> HttpResponse:
        """Ask for a code; `key` is an Idempotency-Key."""
        body = {"phone_number": number} | more
        return self.send_request(
            "POST", "/v1/challenges", by=by, body=body, headers=_build_idempotency_header(key)
        )

    def verify(
        self, issued: HttpResponse, code: Any, *, by: str = "shop", key: str = "", **more: Any
    ) -> HttpResponse:
        """Try a code."""
        path, body = build_verify_path(issued), {"code": code} | more
        return self.send_request(
            "POST", path, by=by, body=body, headers=_build_idempotency_header(key)
        )

    def resend(self, issued: HttpResponse, *, by: str = "shop", key: str = "") -> HttpResponse:
        """Ask for another code."""
        path = f"/v1/challenges/{issued.json['id']}/resend"
        return self.send_request("POST", path, by=by, headers=_build_idempotency_header(key))

    def view(self, issued: HttpResponse, *, by: str = "shop") -> HttpResponse:
        """Look at a challenge."""
        return self.send_request("GET", f"/v1/challenges/{issued.json['id']}", by=by)

    def is_ready(self) -> bool:
        """Whether it says so; it may not even listen yet."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return send_request(self.port, "GET", "/health/ready", timeout=5).status == 200
        return False

    def fetch_events(self, **query: str) -> list[dict[str, Any]]:
        """Return events, newest first, as the security team sees them."""
        path = f"/v1/audit/events?{urlencode({'limit': '1000', **query})}"
        found: list[dict[str, Any]] = self.send_request("GET", path, by="security").json["events"]
        return found

    def fetch_metrics(self) -> str:
        """Return the page for Prometheus."""
        return self.send_request("GET", "/metrics", by="", listener="admin_port").body.decode()

    def count_samples(self, name: str, **labels: str) -> int:
        """Return the sum of a metric's samples that carry these labels."""
        families = text_string_to_metric_families(self.fetch_metrics())
        samples = [s for f in families for s in f.samples if s.name == name]
        return int(sum(s.value for s in samples if labels.items() <= s.labels.items()))

    def fetch_inbox(self) -> list[dict[str, str]]:
        """Return what stands in the inbox of `dev`, newest first."""
        found: list[dict[str, str]] = send_request(self.admin_port, "GET", "/inbox.json").json
        return found

    # ------------------------------------------------------------------ its workers

    def list_worker_pids(self) -> list[int]:
        """Return the pids of its workers that live, as they have told in the log."""
        pids = map(int, re.findall(r"Started server process \[(\d+)\]", self.log.read_text()))
        return [pid for pid in pids if pid != self.process.pid and _is_alive(pid)]

    def wait_for_two_workers(self) -> list[int]:
        """Return the pids of the two workers, once both of them serve and neither is going."""
        seen: list[list[int]] = [[], []]

        def has_two_workers() -> bool:
            seen.append(self.list_worker_pids())
            time.sleep(0.3)  # a supervisor looks twice a second whether one has gone
            return len(seen[-1]) == 2 and seen[-1] == seen[-2] == self.list_worker_pids()

        redis_servers.wait_until(
            has_two_workers, timeout_seconds=WAIT_TIMEOUT_SECONDS, description="two workers"
        )
        return seen[-1]

    @contextlib.contextmanager
    def suspend_workers(self, *workers: int) -> Iterator[None]:
        """Stop workers for a moment; their supervisor replaces whoever rests for seconds."""
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
        """Open connections to both workers in turn, who have open what they need for each.

        They share one socket, and whoever is quicker takes a connection; so one of them rests
        while the other one takes his half.
        """
        first, second = self.wait_for_two_workers()
        halves = []
        for other in (second, first):
            with self.suspend_workers(other):
                halves.append(
                    [await self._open_accepted_connection() for _ in range((count + 1) // 2)]
                )
        lines = [line for pair in zip(*halves, strict=True) for line in pair]
        # A connection to Redis that had yet to be opened would keep a request back.
        looking = build_request("GET", f"/v1/challenges/c00-{'0' * 32}", key=self.keys["shop"])
        await asyncio.gather(*(line.exchange(looking) for line in lines))
        try:
            yield lines[:count]
        finally:
            for line in lines:
                line.close()

    async def send_together(
        self, requests: Sequence[bytes], *, held_bytes: int = 1
    ) -> list[HttpResponse]:
        """Begin every request, let it lie there without its end, and send all ends together."""
        async with self.open_connections(len(requests)) as lines:
            await self.start_together(lines, requests, held_bytes=held_bytes)
            return await asyncio.gather(*(line.read_response() for line in lines))

    async def start_together(
        self,
        connections: Sequence[RawConnection],
        requests: Sequence[bytes],
        *,
        held_bytes: int = 1,
    ) -> None:
        """Do so, and leave the answers where they are."""
        for line, one in zip(connections, requests, strict=True):
            await line.send_partial(one, held_bytes=held_bytes)
        await asyncio.sleep(0.2)  # nobody tells us that the service has read what was sent
        with self.suspend_workers(*self.list_worker_pids()):
            for line in connections:
                await line.send_rest()

    async def _open_accepted_connection(self) -> RawConnection:
        """Return a connection that a worker has taken."""
        line = await RawConnection.connect(self.port)
        await line.exchange(build_request("GET", "/health/live"))
        return line


def build_verify_path(issued: HttpResponse) -> str:
    """Return where the code of a challenge is tried."""
    return f"/v1/challenges/{issued.json['id']}/verify"


def _build_idempotency_header(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text() if Path("/proc").exists() else ") S"
    except (ProcessLookupError, FileNotFoundError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # killed, and not yet seen by its parent


# ------------------------------------------------------------------------------------ starting


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
    sees all of them and may unlock.
    `sitecustomize` is Python that each of its processes runs first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = int(environment.get("SERVICE__PORT") or redis_servers.find_free_port())
    admin_port = redis_servers.find_free_port()
    keys = _write_config(folder / "otp.toml", redis.url, gateways)
    settings = {
        "SERVICE__PORT": str(port),
        "SERVICE__ADMIN_PORT": str(admin_port),
        "SERVICE__WORKERS": str(workers),
        **environment,
    }
    (folder / "sitecustomize.py").write_text(sitecustomize)
    command = ["serve", "--config", str(folder / "otp.toml")]
    with _start_command(command, folder / "serve.log", settings) as (process, log):
        service = RunningService(process, log, port=port, admin_port=admin_port, keys=keys)
        _wait_until(service.is_ready, process, log)
        _wait_until(lambda: len(service.list_worker_pids()) == workers, process, log)
        yield service


def _write_config(path: Path, redis: str, gateways: Sequence[str]) -> dict[str, str]:
    """Write what `init` writes, and what tests need beside it; return the API keys."""
    text, shop = render_config(
        tenant="shop",
        brand="Shop",
        countries=["GB", "US"],
        generate_token=lambda: secrets.token_urlsafe(32),
        provider_url=gateways[0],
    )
    keys = {"shop": shop, "bank": secrets.token_urlsafe(32), "security": secrets.token_urlsafe(32)}
    text = text.replace("redis://127.0.0.1:6379/0", redis)
    text += _format_tenant("bank", keys["bank"], ["challenges", "audit"])
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
def run_dev(data: Path, **environment: str) -> Iterator[RunningService]:
    """Run `otp-service dev` on free ports; its log is what a person sees."""
    command = ["dev", "--port", "0", "--admin-port", "0", "--data", str(data)]
    with _start_command(command, data.with_suffix(".log"), environment) as (process, log):
        _wait_until(lambda: "Then read the code in the inbox" in log.read_text(), process, log)
        told = log.read_text()
        port, admin_port = (int(one) for one in re.findall(r"//127\.0\.0\.1:(\d+)\b", told)[:2])
        key = re.findall(r"API key +(\S+)", told)[0]
        yield RunningService(process, log, port=port, admin_port=admin_port, keys={"dev": key})


@contextlib.contextmanager
def _start_command(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """Run a command of the service; what it says goes to its log."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTP_")}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "otp_service", *command],
            cwd=REPOSITORY_ROOT,
            env=kept
            | {f"OTP_{name}": value for name, value in environment.items()}
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
    """End it as an operator does, by force if it must be; return its exit code."""
    process.terminate()
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait(timeout_seconds)


def run_command(*command: str, **environment: str) -> tuple[int, str]:
    """Run a command that is to end at once; return its exit code and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "otp_service", *command],
        cwd=REPOSITORY_ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_TIMEOUT_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def delete_cooldowns(redis: EmbeddedServer) -> None:
    """End every number's cooldown, which takes 30 s and cannot be configured shorter."""
    with redis_servers.open_client(redis) as client:
        for key in client.scan_iter("*:limit:CooldownPerNumber:*"):
            client.delete(key)


def _wait_until(condition: Any, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + WAIT_TIMEOUT_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"the service did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)  # it has no way to call us
