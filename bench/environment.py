"""What is measured, started as it is in production, and stopped again."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec

from bench import bare_app
from otp_service.settings.template import render_config
from otp_service.store.embedded import EmbeddedServer


COUNTRIES = ("GB", "DE", "FR", "IT")

UNREACHED_WINDOW = '["900000000 in 1 h"]'
RAISED_LIMITS = ("SENDS_PER_PREFIX", "SENDS_PER_COUNTRY", "SENDS_PER_TENANT", "SENDS_OVERALL")
"""The only limits that are moved: they cap what a whole service sends, which is all of ours."""

CHEAPEST_HASH = {"MEMORY_KIB": "8", "PASSES": "1", "ACCEPT_BELOW_OWASP": "true"}

REDIS_OPTIONS = {
    "maxmemory": "2gb",
    "auto-aof-rewrite-percentage": "0",  # a rewrite would fall into some rounds and not in others
}


class Target(msgspec.Struct, frozen=True):
    """Somebody who listens: where, whose group the processes are of, and the key that opens."""

    port: int
    group: int
    key: str = ""


class BenchEnvironment:
    """A Redis, and whoever is started on it; all of it ends with the `with`."""

    def __init__(self, folder: Path, gateway: str, workers: int) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._gateway = gateway
        self._workers = workers
        self._exit_stack = contextlib.ExitStack()
        self._redis = EmbeddedServer(folder / "redis", port=find_free_port(), options=REDIS_OPTIONS)
        self._databases = iter(range(16))

    def __enter__(self) -> Self:
        self._exit_stack.enter_context(self._redis)
        return self

    def __exit__(self, *error: object) -> None:
        self._exit_stack.close()

    @property
    def redis_url(self) -> str:
        """Where Redis is."""
        return self._redis.url

    @property
    def redis_version(self) -> str:
        """What Redis is."""
        return self._redis.version

    def start_service(self, name: str, hash_settings: Mapping[str, str], **more: str) -> Target:
        """Start `otp-service serve` with what `init` writes; settings of [hash] and more over it."""
        config, key = render_config(
            tenant="bench",
            brand="Bench",
            countries=COUNTRIES,
            generate_token=lambda: secrets.token_urlsafe(32),
            provider_url=self._gateway,
        )
        path = self.folder / f"{name}.toml"
        path.write_text(config, encoding="utf-8")
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
        return Target(port, self._start_process(name, command, settings, port), key)

    def start_bare_app(self, payload: int) -> Target:
        """Start the bare application, whose trips carry so many bytes."""
        port = find_free_port()
        settings = {
            bare_app.REDIS_VARIABLE: self._allocate_database(),
            bare_app.GATEWAY_VARIABLE: self._gateway,
            bare_app.PAYLOAD_VARIABLE: str(payload),
        }
        command = ["-m", "bench.bare_app", f"--port={port}", f"--workers={self._workers}"]
        return Target(port, self._start_process("bare", command, settings, port))

    def read_cpu_seconds(self, target: Target) -> float:
        """Return the seconds of CPU that a target and Redis have taken; 0 where nobody tells."""
        groups = {str(target.group), str(self._redis.pid)}
        return sum(
            _to_cpu_seconds(fields)
            for fields in _read_process_stats("[0-9]*")
            if fields[2] in groups
        )

    def read_parent_cpu_seconds(self, target: Target) -> float:
        """Return those of the process that has started a target's workers, without theirs."""
        return sum(map(_to_cpu_seconds, _read_process_stats(str(target.group))))

    def _allocate_database(self) -> str:
        return f"{self._redis.url}/{next(self._databases)}"

    def _start_process(
        self, name: str, command: list[str], settings: Mapping[str, str], port: int
    ) -> int:
        """Start a program, and return the number of its process and of the group that it leads."""
        log = self.folder / f"{name}.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTP_")}
        with log.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603  # our own programs
                [sys.executable, *command],
                env=kept | settings,
                stdout=stream,
                stderr=stream,
                process_group=0,
            )
        self._exit_stack.enter_context(stop_on_exit(process))
        wait_until_listening(process, port, log)
        return process.pid


def _read_process_stats(pattern: str) -> Iterator[list[str]]:
    """Give what Linux knows of processes, from the third field of proc_pid_stat(5) on."""
    for stat in Path("/proc").glob(f"{pattern}/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            yield stat.read_text().rpartition(")")[2].split()


def _to_cpu_seconds(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def find_free_port() -> int:
    """Return a port of this machine that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def stop_on_exit(process: subprocess.Popen[bytes], timeout_seconds: float = 15.0) -> Iterator[None]:
    """Stop a process at the end, and the workers with it that it should have stopped itself."""
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
    """Come back once it answers a request."""
    give_up = time.monotonic() + 20.0
    while not _is_answering(port):
        if process.poll() is not None or time.monotonic() > give_up:
            told = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(str, process.args))} does not answer:\n{told}")
        time.sleep(0.05)


def _is_answering(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: bench\r\n\r\n")
            return connection.recv(16).startswith(b"HTTP/1.1")
    except OSError:
        return False
