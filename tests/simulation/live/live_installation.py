"""The installation of a round as its callers reach it: HTTP to one of the hosts, and the command line."""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Final

from tests.processes import REPOSITORY_ROOT, RawConnection
from tests.simulation.history import (
    Answered,
    CallRecord,
    Canceled,
    Crashed,
    Failed,
    Outcome,
    PlainValue,
    Refused,
    Unavailable,
)
from tests.simulation.live.deployment import Deployment
from tests.simulation.live.http_calls import ROUTES, build_http_call, describe_response
from tests.simulation.live.service_host import ServiceHost
from tests.simulation.world.configuration import build_configuration
from tests.simulation.world.installation import Installation
from tests.simulation.world.site import Site


COMMANDS: Final[Mapping[str, str]] = {"block_number": "block", "unblock_number": "unblock"}
"""The calls that only the command line has."""

CONNECT_SECONDS: Final = 1.0
COMMAND_SECONDS: Final = 60.0


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
        serving = self._serve_recorded(actor, kind, arguments, tenant, cancel_after)
        task = asyncio.create_task(serving)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _serve_recorded(
        self,
        actor: str,
        kind: str,
        arguments: Mapping[str, PlainValue],
        tenant: str,
        cancel_after: float | None,
    ) -> Outcome:
        """Run a call, and record it."""
        host, connection = await self._connect(kind)
        recorder = self.site.recorder
        record = recorder.start_call(
            actor=actor, tenant=tenant, worker=host.name, kind=kind, arguments=arguments
        )
        try:
            async with asyncio.timeout(cancel_after):
                if connection is None:
                    outcome = await self._run_command(record)
                else:
                    outcome = await self._exchange(host, connection, record)
        except TimeoutError:
            outcome = Canceled()
        finally:
            if connection is not None:
                connection.close()
        recorder.end_call(record.number, outcome)
        return outcome

    async def _connect(self, kind: str) -> tuple[ServiceHost, RawConnection | None]:
        """Return a host and a connection to it, as a load balancer that tries the next one."""
        hosts = list(self._deployment.hosts)
        first = self._chance.pick(hosts)
        if kind not in ROUTES:
            return first, None
        hosts.remove(first)
        while True:
            for host in (first, *hosts):
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        return host, await RawConnection.connect(host.port)
                except OSError:  # TimeoutError is one
                    continue
            await asyncio.sleep(0.2)  # no host listens: a fault has killed both

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

    async def _run_command(self, record: CallRecord) -> Outcome:
        """Run a command of `otp-service` on a number, which it reads from its standard input."""
        number = str(record.arguments["phone_number"])
        async with self._command_slot:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "otp_service", COMMANDS[record.kind]),
                *("--config", str(self._deployment.config_path)),
                cwd=REPOSITORY_ROOT,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    output, _ = await process.communicate(f"{number}\n".encode())
            except BaseException:
                process.kill()
                await process.wait()
                raise
        if process.returncode == 0:
            return Answered()
        is_known = b"not available" in output or b"unavailable" in output
        return Unavailable() if is_known else Refused(f"exit code {process.returncode}")
