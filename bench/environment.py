"""The measured programs: started as in production, and stopped at the end."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec

from bench import bare_app
from bench.engines import Program
from otp_service.store.embedded import EmbeddedServer


COUNTRIES = ("GB", "DE", "FR", "IT")

UNREACHED_WINDOW = '["900000000 in 1 h"]'
RAISED_LIMITS = ("SENDS_PER_PREFIX", "SENDS_PER_COUNTRY", "SENDS_PER_TENANT", "SENDS_OVERALL")
"""The only limits that are raised: they cap all sends of a service, and the bench is one caller."""

DAY_BUDGET, UNREACHED_BUDGET = "day_budget = 1500", "day_budget = 1000000000"
"""The line of the configuration, which code from before the brake has not."""

CHEAPEST_HASH = {"MEMORY_KIB": "8", "PASSES": "1", "ACCEPT_BELOW_OWASP": "true"}

START_SECONDS = 60.0
"""A loaded machine takes long to import the service."""

REDIS_OPTIONS = {
    "maxmemory": "2gb",
    "auto-aof-rewrite-percentage": "0",  # a rewrite would disturb only some rounds
}


RENDER_SCRIPT = """
import json, secrets, sys
from otp_service.settings.template import render_config
countries, url = json.loads(sys.argv[1]), sys.argv[2]
token = lambda: secrets.token_urlsafe(32)
print(json.dumps(render_config(
    tenant="bench", brand="Bench", countries=countries, generate_token=token, provider_url=url
)))
"""
"""Prints the configuration of `init` and its API key; each code has a configuration of its own."""


class Target(msgspec.Struct, frozen=True):
    """A server to measure: its port, the process group of its workers, and an API key."""

    port: int
    group: int
    key: str = ""


class BenchEnvironment:
    """A context manager: a Redis, and the servers that are started on it."""

    def __init__(
        self, folder: Path, gateway: str, workers: int, *, redis_options: Mapping[str, str] = {}
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._gateway = gateway
        self._workers = workers
        self._exit_stack = contextlib.ExitStack()
        options = {**REDIS_OPTIONS, **redis_options}
        self._redis = EmbeddedServer(folder / "redis", port=find_free_port(), options=options)
        self._databases = iter(range(16))

    def __enter__(self) -> Self:
        self._exit_stack.enter_context(self._redis)
        return self

    def __exit__(self, *error: object) -> None:
        self._exit_stack.close()

    @property
    def redis_url(self) -> str:
        return self._redis.url

    @property
    def redis_version(self) -> str:
        return self._redis.version

    def start_service(
        self,
        name: str,
        hash_settings: Mapping[str, str],
        program: Program = Program(),  # noqa: B008  # immutable
        /,
        **more: str,
    ) -> Target:
        """Start `otp-service serve` with the configuration of `init` and these settings over it."""
        config, key = self._render_config(program)
        path = self.folder / f"{name}.toml"
        path.write_text(config.replace(DAY_BUDGET, UNREACHED_BUDGET), encoding="utf-8")
        port = find_free_port()
        settings = {
            "OTP_SERVICE__PORT": str(port),
            "OTP_SERVICE__ADMIN_PORT": str(find_free_port()),
            "OTP_SERVICE__WORKERS": str(self._workers),
            "OTP_REDIS__URL": self._allocate_database(),
            **{f"OTP_LIMITS__{limit}": UNREACHED_WINDOW for limit in RAISED_LIMITS},
            **{f"OTP_HASH__{setting}": value for setting, value in hash_settings.items()},
            **{f"OTP_{setting}": value for setting, value in more.items()},
        }
        command = ["-m", "otp_service", "serve", "--config", str(path)]
        return Target(port, self._start_process(name, program, command, settings, port), key)

    def _render_config(self, program: Program) -> tuple[str, str]:
        countries = msgspec.json.encode(COUNTRIES).decode()
        result = subprocess.run(  # noqa: S603  # our own program
            program.build_command("-c", RENDER_SCRIPT, countries, self._gateway),
            env=program.build_environ(),
            cwd=program.code,
            stdout=subprocess.PIPE,
            check=True,
        )
        return msgspec.json.decode(result.stdout, type=tuple[str, str])

    def start_bare_app(self, payload: int) -> Target:
        """Start the bare application; each call to Redis has a payload of this many bytes."""
        port = find_free_port()
        settings = {
            bare_app.REDIS_VARIABLE: self._allocate_database(),
            bare_app.GATEWAY_VARIABLE: self._gateway,
            bare_app.PAYLOAD_VARIABLE: str(payload),
        }
        command = ["-m", "bench.bare_app", f"--port={port}", f"--workers={self._workers}"]
        return Target(port, self._start_process("bare", Program(), command, settings, port))

    def read_cpu_seconds(self, target: Target) -> float:
        """Return the CPU seconds of a target and Redis; 0 without /proc."""
        return self.read_service_cpu_seconds(target) + self.read_redis_cpu_seconds()

    def read_service_cpu_seconds(self, target: Target) -> float:
        """Return the CPU seconds of all processes of a target."""
        group = str(target.group)
        stats = _read_process_stats("[0-9]*")
        return sum(_to_cpu_seconds(fields) for fields in stats if fields[2] == group)

    def read_redis_cpu_seconds(self) -> float:
        """Return the CPU seconds of Redis."""
        return sum(map(_to_cpu_seconds, _read_process_stats(str(self._redis.pid))))

    def read_parent_cpu_seconds(self, target: Target) -> float:
        """Return the CPU seconds of the parent process of a target, without its workers."""
        return sum(map(_to_cpu_seconds, _read_process_stats(str(target.group))))

    def _allocate_database(self) -> str:
        return f"{self._redis.url}/{next(self._databases)}"

    def _start_process(
        self,
        name: str,
        program: Program,
        arguments: list[str],
        settings: Mapping[str, str],
        port: int,
    ) -> int:
        """Start a program; return its process id, which is also its process group."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603  # our own programs
                program.build_command(*arguments),
                env={**program.build_environ(), **settings},
                cwd=program.code,
                stdout=stream,
                stderr=stream,
                process_group=0,
            )
        self._exit_stack.enter_context(stop_on_exit(process))
        wait_until_listening(process, port, log)
        return process.pid


def _read_process_stats(pattern: str) -> Iterator[list[str]]:
    """Yield the fields of processes in /proc, from the third field of proc_pid_stat(5) on."""
    for stat in Path("/proc").glob(f"{pattern}/stat"):
        with contextlib.suppress(OSError):  # the process has just ended
            yield stat.read_text().rpartition(")")[2].split()


def _to_cpu_seconds(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def find_free_port() -> int:
    """Return a free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def stop_on_exit(process: subprocess.Popen[bytes], timeout_seconds: float = 15.0) -> Iterator[None]:
    """Stop a process at the end; kill its group if it does not stop in time."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the process answers a request. Raises RuntimeError with its log if it does not."""
    give_up = time.monotonic() + START_SECONDS
    while not _is_answering(port):
        if process.poll() is not None or time.monotonic() > give_up:
            lines = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the program with the log {log.name} does not answer:\n{lines}")
        time.sleep(0.05)


def _is_answering(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: bench\r\n\r\n")
            return connection.recv(16).startswith(b"HTTP/1.1")
    except OSError:
        return False
