"""A worker process of `serve`, which `worker_main.py` starts with two file descriptors.

One is the listener. The other one is a channel, a pair of sockets to the supervisor. The worker reads its
configuration from the channel, in one line of JSON, reports that it is prepared, and serves once it reads
another line. While it serves it reports once a second that it is alive, and writes its metrics. The end of
the channel is the end of the supervisor, whatever ended that: the worker ends too, and the address is free.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, Literal

import msgspec
import uvloop

from otp_service import telemetry
from otp_service.app import Application, create_public_app
from otp_service.cli.http_server import ConnectionLimits, HttpServer
from otp_service.cli.port_spread import spread_by_port
from otp_service.settings import ConfigurationSource, Settings
from otp_service.task_end import wait_for_event


ALIVE_SECONDS = 1.0

ORPHAN_SECONDS = 1.0
"""Seconds that running requests have after the end of the supervisor."""

RETIRE_SECONDS = 2.0
"""Seconds in which a replaced worker asks its clients to open new connections.

A client that sends a request at the moment at which its idle connection is closed gets no response.
So each response says `Connection: close` first, and only what is idle for longer is closed.
"""

SERVE_ORDER, RETIRE_ORDER = b"serve\n", b"retire\n"


class WorkerReport(msgspec.Struct, frozen=True):
    """One line from a worker to its supervisor."""

    state: Literal["prepared", "serving", "alive", "failed"]
    reason: str = ""
    """Why it failed: the type of an exception."""


class SupervisorChannel:
    """The worker's end of the channel; `close_process` ends the process when it is closed."""

    def __init__(self, sock: socket.socket, close_process: Callable[[], None]) -> None:
        self._socket = sock
        self._orders: BinaryIO = sock.makefile("rb")
        self._close_process = close_process
        self.serve_ordered, self.stop_ordered = asyncio.Event(), asyncio.Event()
        self.retire_ordered = asyncio.Event()

    def read_configuration(self) -> ConfigurationSource:
        return msgspec.json.decode(self._orders.readline(), type=ConfigurationSource)

    def report(
        self, state: Literal["prepared", "serving", "alive", "failed"], text: str = ""
    ) -> None:
        """Send a report; a supervisor that is gone, or does not read, gets none."""
        with contextlib.suppress(OSError):
            self._socket.send(msgspec.json.encode(WorkerReport(state, text)) + b"\n")

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the events when orders arrive, in a thread: a busy event loop delays it not."""
        threading.Thread(target=self._read_orders, args=(loop,), daemon=True).start()

    def _read_orders(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(OSError):
            for order in self._orders:
                is_retirement = order == RETIRE_ORDER
                _set_event(loop, self.retire_ordered if is_retirement else self.serve_ordered)
        _set_event(loop, self.stop_ordered)
        time.sleep(ORPHAN_SECONDS)
        self._close_process()


def _set_event(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(event.set)


def run_worker(channel: SupervisorChannel, listener: socket.socket) -> None:
    """Serve the configuration of the channel until SIGTERM, or until the supervisor has ended."""
    settings = channel.read_configuration().load()
    telemetry.configure_logging(settings.service.log_level, sys.stdout)
    metric_buffer = telemetry.MetricBuffer.install()
    try:
        uvloop.run(_run_application(channel, listener, settings, metric_buffer))
    finally:
        metric_buffer.write()


async def _run_application(
    channel: SupervisorChannel,
    listener: socket.socket,
    settings: Settings,
    metric_buffer: telemetry.MetricBuffer,
) -> None:
    loop = asyncio.get_running_loop()
    channel.watch(loop)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, channel.stop_ordered.set)
    application = Application(settings)
    limits = ConnectionLimits.from_settings(settings.service)
    server = HttpServer(create_public_app(application), listener, limits, application.metrics)
    _tune_garbage_collector()
    channel.report("prepared")
    if await _wait_for_first(channel.serve_ordered, channel.stop_ordered) is channel.stop_ordered:
        return
    server.start()
    spread_by_port(listener, settings.service.workers)
    await application.start()
    channel.report("serving")
    each_second = asyncio.create_task(_run_each_second(channel, metric_buffer))
    await _wait_for_first(channel.retire_ordered, channel.stop_ordered)
    server.retire()
    await wait_for_event(channel.stop_ordered, RETIRE_SECONDS)
    listener.close()
    await server.stop(settings.service.drain_seconds)
    await application.stop()
    each_second.cancel()


async def _run_each_second(
    channel: SupervisorChannel, metric_buffer: telemetry.MetricBuffer
) -> None:
    while True:
        channel.report("alive")
        metric_buffer.write()
        await asyncio.sleep(ALIVE_SECONDS)


async def _wait_for_first(*events: asyncio.Event) -> asyncio.Event:
    waits = {asyncio.create_task(event.wait()): event for event in events}
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return waits[done.pop()]


def _tune_garbage_collector() -> None:
    # The objects of now stay, and a request leaves few cycles, but by default the garbage collector
    # runs after every 700 objects.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def main() -> None:
    """Run a worker; its supervisor passes the file descriptors."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that hangs up reaches every process
    channel_fd, listener_fd = map(int, sys.argv[1:])
    with socket.socket(fileno=channel_fd) as sock, socket.socket(fileno=listener_fd) as listener:
        channel = SupervisorChannel(sock, lambda: os._exit(1))
        try:
            run_worker(channel, listener)
        except Exception as error:
            channel.report("failed", type(error).__name__)
            raise
