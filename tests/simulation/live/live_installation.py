"""The installation of a round as its callers reach it: HTTP to one of the hosts, and the command line."""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Final, NamedTuple

from tests.processes import REPOSITORY_ROOT, RawConnection
from tests.simulation.history import (
    Answered,
    CallRecord,
    Canceled,
    Crashed,
    Failed,
    Outcome,
    PlainValue,
)
from tests.simulation.live.deployment import Deployment
from tests.simulation.live.http_calls import build_http_call, describe_response
from tests.simulation.live.real_time import LOOK_SECONDS
from tests.simulation.live.service_host import ServiceHost
from tests.simulation.world.configuration import build_configuration
from tests.simulation.world.installation import Installation
from tests.simulation.world.site import Site


COMMANDS: Final[Mapping[str, str]] = {"block_number": "block", "unblock_number": "unblock"}
"""The calls that only the command line has."""

CONNECT_SECONDS: Final = 1.0
COMMAND_SECONDS: Final = 20.0
"""After which an operator ends a command: it imports all of the service, maybe on a busy machine."""

COMMAND_LINE: Final = "command line"
"""What runs a command, in place of the host of a call."""


class PlannedCall(NamedTuple):
    """A call of an actor, before it begins."""

    actor: str
    kind: str
    arguments: Mapping[str, PlainValue]
    tenant: str
    cancel_after: float | None
    """Seconds after which its caller gives up; None for a patient one."""


def build_trace(number: int) -> str:
    """Return the trace of a call, by which events and observations name it."""
    return f"{number + 1:032x}"


class LiveInstallation(Installation):
    """Each call goes to a host that is drawn, or to the other one if nothing listens there."""

    def __init__(self, site: Site, deployment: Deployment) -> None:
        super().__init__(site, build_configuration())
        self._deployment = deployment
        self._running: set[asyncio.Task[Outcome]] = set()
        self._command_slot = asyncio.Semaphore(1)  # each of them is a process that imports it all

    @property
    def has_calls(self) -> bool:
        """Whether a call is running."""
        return bool(self._running)

    async def call(
        self,
        actor: str,
        kind: str,
        arguments: Mapping[str, PlainValue],
        *,
        tenant: str = "",
        cancel_after: float | None = None,
    ) -> Outcome:
        """Return the outcome of a call, which the caller gives up after so many seconds, if any.

        If this is canceled the call goes on, and its outcome is recorded.
        """
        planned = PlannedCall(actor, kind, arguments, tenant, cancel_after)
        run = self._run_command if kind in COMMANDS else self._send
        task = asyncio.create_task(run(planned))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _send(self, planned: PlannedCall) -> Outcome:
        """Send a call to a host, and record it."""
        host, connection = await self._connect()
        record = self._start_call(planned, host.name)
        try:
            async with asyncio.timeout(planned.cancel_after):
                outcome = await self._exchange(host, connection, record)
        except TimeoutError:
            outcome = Canceled()
        finally:
            connection.close()
        self.site.recorder.end_call(record.number, outcome)
        return outcome

    async def _run_command(self, planned: PlannedCall) -> Outcome:
        """Run a command, and record it. Its operator ends one that takes too long."""
        async with self._command_slot:
            record = self._start_call(planned, COMMAND_LINE)
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    outcome = await self._execute(record)
            except TimeoutError:
                outcome = Canceled()
            self.site.recorder.end_call(record.number, outcome)
        return outcome

    def _start_call(self, planned: PlannedCall, worker: str) -> CallRecord:
        return self.site.recorder.start_call(
            actor=planned.actor,
            tenant=planned.tenant,
            worker=worker,
            kind=planned.kind,
            arguments=planned.arguments,
        )

    async def _connect(self) -> tuple[ServiceHost, RawConnection]:
        """Return a host and a connection to it, as a load balancer that tries the next one."""
        hosts = list(self._deployment.hosts)
        first = self._chance.pick(hosts)
        hosts.remove(first)
        while True:
            for host in (first, *hosts):
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        return host, await RawConnection.connect(host.port)
                except OSError:  # TimeoutError is one
                    continue
            await asyncio.sleep(LOOK_SECONDS)  # no host listens: a fault has killed both

    async def _exchange(
        self, host: ServiceHost, connection: RawConnection, record: CallRecord
    ) -> Outcome:
        """Send the request of a call. A connection that breaks is explained by a fault of its host."""
        request = build_http_call(
            record.kind,
            record.arguments,
            record.tenant,
            self._deployment.configuration,
            build_trace(record.number),
        )
        try:
            return describe_response(await connection.exchange(request))
        except (OSError, asyncio.IncompleteReadError) as error:
            if host.was_disturbed_since(record.started_at):
                return Crashed()
            return Failed(f"{type(error).__name__} from a host that was not disturbed")

    async def _execute(self, record: CallRecord) -> Outcome:
        """Run a command of `otp-service` on a number, which it reads from its standard input."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "otp_service", COMMANDS[record.kind]),
            *("--config", str(self._deployment.config_path)),
            cwd=REPOSITORY_ROOT,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        number = str(record.arguments["phone_number"])
        try:
            await process.communicate(f"{number}\n".encode())
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        # One that fails says why in words, so whether it had its effect counts as unknown.
        return Answered() if process.returncode == 0 else Canceled()
