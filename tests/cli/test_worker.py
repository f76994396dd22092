"""A worker in this process: what it reports, and what ends it."""

import asyncio
import contextlib
import signal
import socket
import sys
import threading

import msgspec
import pytest

from otp_service.cli import worker
from otp_service.cli.common import read_safe_configuration
from otp_service.cli.listeners import open_listener
from otp_service.cli.worker import (
    RETIRE_ORDER,
    SERVE_ORDER,
    SupervisorChannel,
    WorkerReport,
    run_worker,
)


@pytest.fixture
def ends():
    """The two ends of a channel, and a listener."""
    ours, theirs = socket.socketpair()
    listener = open_listener("127.0.0.1", 0, advice="")
    ours.settimeout(20)
    yield ours, theirs, listener
    for sock in (ours, theirs, listener):
        sock.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No configuration of logging, and short waits."""
    monkeypatch.setattr("otp_service.telemetry.configure_logging", lambda *_: None)
    monkeypatch.setattr(worker, "ORPHAN_SECONDS", 0.05)
    monkeypatch.setattr(worker, "RETIRE_SECONDS", 0.05)
    monkeypatch.setattr(worker, "ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(worker, "_tune_garbage_collector", lambda: None)


def send_configuration(ours, config):
    """Send the first line of a supervisor."""
    source = read_safe_configuration(config).source
    ours.sendall(msgspec.json.encode(source) + b"\n")


async def drive(ours, steps):
    """Send each order after its report, and return the reports."""
    reader, writer = await asyncio.open_connection(sock=ours)
    seen = []
    async with asyncio.timeout(30):
        for state, order in steps:
            while not seen or seen[-1] != state:
                seen.append(msgspec.json.decode(await reader.readline(), type=WorkerReport).state)
            if callable(order):
                order()
            else:
                writer.write(order)
    return seen, reader, writer


def run_with(ends, config, steps):
    """Run a worker in the main thread, driven from a loop in another one; return its reports."""
    ours, theirs, listener = ends
    ended = []
    channel = SupervisorChannel(theirs, lambda: ended.append(True))
    send_configuration(ours, config)
    seen = []

    async def drive_and_keep():
        reports, _, writer = await drive(ours, steps)
        seen.extend(reports)
        await asyncio.sleep(0.3)
        writer.close()

    driver = threading.Thread(target=lambda: asyncio.run(drive_and_keep()))
    driver.start()
    run_worker(channel, listener)
    driver.join(30)
    return seen, ended


def test_a_worker_is_prepared_serves_and_retires(ends, config):
    """It serves only when it is ordered to, and is alive until it ends."""
    seen, _ = run_with(
        ends, config, [("prepared", SERVE_ORDER), ("serving", b""), ("alive", RETIRE_ORDER)]
    )

    assert ["prepared", "serving", "alive"] == seen


@pytest.mark.parametrize("failure", [None, RuntimeError("it cannot stop")], ids=["stops", "fails"])
def test_a_worker_writes_what_it_counted_until_its_end(ends, config, monkeypatch, failure):
    """What it counts as it stops is not lost, and neither is what one counts that fails."""
    monkeypatch.setattr(worker, "ALIVE_SECONDS", 60)
    steps, stop = [], worker.Application.stop

    async def stop_and_count(application):
        await stop(application)
        steps.append("count")
        if failure:
            raise failure

    class Buffer:
        def write(self):
            steps.append("write")

    monkeypatch.setattr(worker.Application, "stop", stop_and_count)
    monkeypatch.setattr("otp_service.telemetry.MetricBuffer.install", Buffer)

    with pytest.raises(RuntimeError) if failure else contextlib.nullcontext():
        run_with(ends, config, [("prepared", SERVE_ORDER), ("alive", RETIRE_ORDER)])

    assert ["write", "count", "write"] == steps


def test_a_worker_that_never_serves_ends_at_once(ends, config):
    """A reload that is given up."""
    seen, _ = run_with(ends, config, [("prepared", lambda: signal.raise_signal(signal.SIGTERM))])

    assert ["prepared"] == seen


def test_a_worker_without_its_supervisor_ends(ends, config):
    """The end of the channel is the end of the supervisor."""
    ours = ends[0]
    seen, ended = run_with(
        ends,
        config,
        [("prepared", SERVE_ORDER), ("alive", lambda: ours.shutdown(socket.SHUT_RDWR))],
    )

    assert "serving" in seen
    assert [True] == ended


def test_a_worker_that_cannot_start_reports_the_type_of_the_error(ends, monkeypatch):
    """Its text could hold a secret."""
    ours, theirs, listener = ends
    monkeypatch.setattr(sys, "argv", ["worker", str(theirs.detach()), str(listener.detach())])
    ours.sendall(b"{}\n")

    with pytest.raises(msgspec.ValidationError):
        worker.main()

    report = msgspec.json.decode(ours.recv(4096), type=WorkerReport)
    assert WorkerReport("failed", "ValidationError") == report
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
