"""K6, E1: the supervisor of the deployed service is killed, stopped early, or refuses a reload."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from otp_service.cli import main
from otp_service.cli.slot_listeners import SlotListeners
from tests.processes import (
    WAIT_TIMEOUT_SECONDS,
    GatewayServer,
    RunningService,
    run_service,
)
from tests.store import redis_servers


pytestmark = pytest.mark.slow

ORPHAN_WAIT_SECONDS = 5.0
"""The workers have 1 s, and this machine may be busy."""


@contextlib.contextmanager
def run_workers(folder: Path, count: int) -> Iterator[RunningService]:
    """Run a service with a Redis of its own."""
    with (
        GatewayServer() as gateway,
        redis_servers.start_server(folder / "redis") as redis,
        run_service(folder, redis, [gateway.url], workers=count) as service,
    ):
        yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return a service whose workers a test may kill, and which no test stops."""
    with run_workers(tmp_path_factory.mktemp("supervised"), 2) as service:
        yield service


@pytest.fixture
def run_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path, int], tuple[int, str]]:
    """Return `otp-service status` for the service with this admin port."""

    def run(config: Path, admin_port: int) -> tuple[int, str]:
        monkeypatch.setenv("OTP_SERVICE__ADMIN_PORT", str(admin_port))
        return main(["status", "--config", str(config)]), "".join(capsys.readouterr())

    return run


def get_config(service: RunningService) -> Path:
    """Return the path of its settings."""
    return service.log.with_name("otp.toml")


def list_starts(service: RunningService) -> list[dict[str, Any]]:
    """Return the events of workers that started."""
    events = service.fetch_events(type="service.changed")
    return [event for event in events if event["reason"] == "started"]


def test_workers_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """They served for ever, without sealer and metrics, and the address was in use."""
    with run_workers(tmp_path, 1) as service:
        workers = service.list_worker_pids()

        service.process.kill()
        service.process.wait(WAIT_TIMEOUT_SECONDS)
        redis_servers.wait_until(
            lambda: not service.list_worker_pids(),
            timeout_seconds=ORPHAN_WAIT_SECONDS,
            description="the end of the workers",
        )

    assert 1 == len(workers)
    SlotListeners("127.0.0.1", service.port, 1).close()  # the address is free


def test_a_refused_reload_is_an_event_and_an_exit_code_and_no_start(
    service: RunningService, run_status: Callable[[Path, int], tuple[int, str]]
) -> None:
    """No event says that the refused configuration started."""
    starts = list_starts(service)
    config = get_config(service)
    healthy = run_status(config, service.admin_port)
    usable = config.read_text()
    config.write_text(usable.replace('mode = "live"', 'mode = "life"'))
    os.kill(service.process.pid, signal.SIGHUP)
    redis_servers.wait_until(
        lambda: "the reload is refused" in service.log.read_text(), description="the refusal"
    )
    config.write_text(usable)  # for other tests
    redis_servers.wait_until(
        lambda: any(
            event["reason"] == "reload_refused"
            for event in service.fetch_events(type="service.changed")
        ),
        interval_seconds=0.5,
        description="the event",
    )

    assert 0 == healthy[0], healthy[1]
    assert "Every process serves this configuration." in healthy[1]
    assert "worker-2" in healthy[1]
    assert 1 == run_status(config, service.admin_port)[0]
    assert starts == list_starts(service)
    assert '"reason":"mode: must be one of' in service.log.read_text()


def test_a_worker_that_is_killed_is_replaced_and_others_serve_meanwhile(
    service: RunningService,
) -> None:
    """New connections go to the other slot at once."""
    victim, other = service.wait_for_two_workers()
    os.kill(victim, signal.SIGKILL)
    redis_servers.wait_until(
        lambda: f"worker {victim} was ended by signal 9" in service.log.read_text(),
        description="the supervisor's notice",
    )

    statuses = [service.send_request("GET", "/health/live").status for _ in range(20)]

    assert [200] * 20 == statuses
    assert other in service.wait_for_two_workers()


def test_connections_opened_at_once_are_spread_evenly_over_the_workers(
    service: RunningService,
) -> None:
    """From successive ports of an address that nothing else uses."""
    workers = service.wait_for_two_workers()
    host = f"127.77.{workers[0] >> 8 & 255}.{workers[0] & 255}"
    with contextlib.ExitStack() as stack:
        for port in range(32_768, 32_768 + 64, 2):
            address = ("127.0.0.1", service.port)
            stack.enter_context(socket.create_connection(address, 5, (host, port)))
        redis_servers.wait_until(
            lambda: sum(count_connections(worker, service.port) for worker in workers) == 32,
            description="32 accepted connections",
        )

        counts = [count_connections(worker, service.port) for worker in workers]

    assert [16, 16] == counts


def count_connections(worker: int, port: int) -> int:
    """Return how many connections to this port on loopback a process has accepted."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    local, established = f"0100007F:{port:04X}", "01"
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1] == local and row[3] == established}
    links = []
    for descriptor in Path(f"/proc/{worker}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            links.append(str(descriptor.readlink()))
    return len(inodes.intersection(links))


def test_a_signal_ends_a_service_whose_workers_start_slowly(
    service: RunningService, tmp_path: Path
) -> None:
    """A start that was stuck held SIGTERM for a minute."""
    (tmp_path / "sitecustomize.py").write_text(
        'import sys, time\nif "otp_service.cli.worker_main" in sys.orig_argv:\n    time.sleep(60)\n'
    )
    port, admin_port = redis_servers.find_free_port(), redis_servers.find_free_port()
    environ = os.environ | {
        "OTP_SERVICE__PORT": str(port),
        "OTP_SERVICE__ADMIN_PORT": str(admin_port),
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}",
    }
    command = [sys.executable, "-m", "otp_service", "serve", "--config", str(get_config(service))]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    redis_servers.wait_until(lambda: is_serving(admin_port), description="the start")
    started_at = time.monotonic()
    process.terminate()

    assert 0 == process.wait(WAIT_TIMEOUT_SECONDS)
    assert time.monotonic() - started_at < 10


def is_serving(admin_port: int) -> bool:
    """Return whether the admin listener answers: the supervisor handles signals before it does.

    The socket alone listens a moment earlier, and a signal then ends the process as it ends any.
    """
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/status")
        return connection.getresponse().status == HTTPStatus.OK
    return False


def test_status_of_a_service_that_does_not_run_is_an_exit_code_of_its_own(
    service: RunningService, run_status: Callable[[Path, int], tuple[int, str]]
) -> None:
    """1 means that something is wrong with a service that runs."""
    code, output = run_status(get_config(service), redis_servers.find_free_port())

    assert 2 == code
    assert "is the service running?" in output
