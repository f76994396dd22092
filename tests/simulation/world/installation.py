"""The service on two hosts with two workers each, behind a load balancer, with vendors and phones."""

import asyncio
from collections.abc import Mapping
from contextvars import copy_context
from typing import Final

from msgspec.structs import replace

from otp_service.core.delivery import Receipt
from otp_service.service import Caller
from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.history import (
    Answered,
    Canceled,
    Crashed,
    FaultKind,
    Outcome,
    PlainValue,
)
from tests.simulation.world.configuration import Configuration
from tests.simulation.world.host import Host
from tests.simulation.world.outcomes import describe_error
from tests.simulation.world.site import Site
from tests.simulation.world.use_cases import USE_CASES
from tests.simulation.world.worker import Worker


WORKER_HOSTS: Final[Mapping[str, str]] = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
"""By the name of the worker."""

REPORT_TRIES: Final = 3
REPORT_INTERVAL_SECONDS: Final = 5.0
"""Between two tries of a vendor to bring a receipt."""

PROVIDER_KINDS: Final = frozenset({"receive_receipt", "receive_message"})
COMMAND_KINDS: Final = frozenset({"block_number", "unblock_number"})

Arguments = Mapping[str, PlainValue]


class Installation:
    """Each call goes to a worker that is drawn. A worker is built at its first call."""

    def __init__(self, site: Site, configuration: Configuration) -> None:
        self.site = site
        self.hosts = {name: Host(name, site.read_true_ms) for name in ("a", "b")}
        self.configurations = dict.fromkeys(WORKER_HOSTS, configuration)
        """What each worker is started with."""
        self.workers: dict[str, Worker] = {}
        self._closed_names: set[str] = set()
        """Of workers to which no call is sent: they are dead, or about to stop."""
        self._has_worker = asyncio.Event()
        self._has_worker.set()
        self._chance = site.chance.derive("load balancer")

    async def call(
        self,
        actor: str,
        kind: str,
        arguments: Arguments,
        *,
        tenant: str = "",
        cancel_after: float | None = None,
    ) -> Outcome:
        """Return the outcome of a call, which the caller gives up after so many seconds, if any.

        The call itself may go on then.
        """
        worker = await self._choose_worker()
        serving = self._serve(worker, actor, kind, arguments, tenant)
        task = asyncio.get_running_loop().create_task(serving)
        try:
            await asyncio.wait({task}, timeout=cancel_after)
        finally:
            task.cancel()
        return await task

    async def report_receipt(self, provider: str, receipt: Receipt) -> None:
        """Bring a receipt of a vendor, again after a failure."""
        arguments: Arguments = {
            "provider": provider,
            "reference": receipt.reference,
            "status": receipt.status,
            "trusted": True,
        }
        for _ in range(REPORT_TRIES):
            outcome = await self.call(provider, "receive_receipt", arguments)
            if isinstance(outcome, Answered):
                break
            await asyncio.sleep(REPORT_INTERVAL_SECONDS)

    def crash(self, name: str) -> None:
        """Kill a worker, at this step."""
        self._close(name)
        if name in self.workers:
            self.site.recorder.crash_worker(name)
            self.workers[name].crash()

    def restart(self, name: str) -> None:
        """Start a worker that was killed or stopped, with its present configuration."""
        if name in self._closed_names:
            self.workers.pop(name, None)
            self._closed_names.discard(name)
            self._has_worker.set()

    async def replace(self, name: str, configuration: Configuration) -> None:
        """Stop a worker as a deployment does, and start it with another configuration."""
        self._close(name)
        self.configurations[name] = configuration
        old, recorder = self.workers.get(name), self.site.recorder
        if old is not None and not old.is_dead:
            fault = recorder.start_fault(FaultKind.WORKER_RESTART, name)
            await asyncio.get_running_loop().create_task(_stop_worker(old))
            recorder.end_fault(fault)
        if self.workers.get(name) is old:  # it may have been killed and started meanwhile
            self.restart(name)

    def jump_clock(self, host: str, milliseconds: int) -> None:
        """Set the wall clock of a host forward, or back by a negative number."""
        self.hosts[host].clock.jump(milliseconds)
        recorder = self.site.recorder
        recorder.end_fault(recorder.start_fault(FaultKind.HOST_CLOCK, host, jump_ms=milliseconds))

    def set_log_capacity(self, max_entries: int) -> None:
        """Let each stream of the event log have so many entries, for present and future workers."""
        self.site.log.max_entries = max_entries
        for worker in self.workers.values():
            limits = worker.store._log_limits
            worker.store._log_limits = replace(limits, max_stream_entries=max_entries)

    def end_faults(self) -> None:
        """Let vendors be calm, set every clock right, and start the workers that are dead."""
        for vendor in self.site.vendors.values():
            vendor.be_calm()
        for host in self.hosts.values():
            host.clock.error_ms = 0
        for name in sorted(self._closed_names):
            self.restart(name)

    @property
    def is_idle(self) -> bool:
        """Whether no call is running on any worker, and no refund or receipt waits."""
        workers, vendors = self.workers.values(), self.site.vendors.values()
        return all(one.is_idle for one in workers) and not any(one.has_reports for one in vendors)

    def _close(self, name: str) -> None:
        """Send no further call to a worker."""
        self._closed_names.add(name)
        if len(self._closed_names) == len(WORKER_HOSTS):
            self._has_worker.clear()

    async def _choose_worker(self) -> Worker:
        await self._has_worker.wait()
        name = self._chance.pick([one for one in WORKER_HOSTS if one not in self._closed_names])
        if name not in self.workers:
            self.workers[name] = copy_context().run(self._build_worker, name)
        return self.workers[name]

    def _build_worker(self, name: str) -> Worker:
        """Build a worker in a context of its own: its jobs inherit the host, and its caller does not."""
        CURRENT_HOST.set(WORKER_HOSTS[name])
        host = self.hosts[WORKER_HOSTS[name]]
        return Worker(name, host, self.configurations[name], self.site)

    async def _serve(
        self, worker: Worker, actor: str, kind: str, arguments: Arguments, tenant: str
    ) -> Outcome:
        """Run a call on a worker, and record it."""
        recorder = self.site.recorder
        CURRENT_HOST.set(worker.host.name)
        record = recorder.start_call(
            actor=actor, tenant=tenant, worker=worker.name, kind=kind, arguments=arguments
        )
        caller = _build_caller(worker, tenant, kind, record.request)
        try:
            value = await worker.run_call(USE_CASES[kind](worker, caller, arguments))
            outcome: Outcome = Answered(value)
        except asyncio.CancelledError:
            outcome = Crashed() if worker.is_dead else Canceled()
        except Exception as error:  # noqa: BLE001  # the contract knows no other ones: 500
            outcome = Crashed() if worker.is_dead else describe_error(error)
        recorder.end_call(record.number, outcome)
        return outcome


async def _stop_worker(worker: Worker) -> None:
    """Stop a worker on its own host, where it is paused with it."""
    CURRENT_HOST.set(worker.host.name)
    await worker.stop()


def _build_caller(worker: Worker, tenant: str, kind: str, request: str) -> Caller:
    if tenant:
        return Caller(worker.configuration.tenants[tenant], f"{tenant}-key", request)
    if kind in PROVIDER_KINDS:
        return Caller.without_tenant("session", request)
    assert kind in COMMAND_KINDS, kind
    return Caller.without_tenant("cli", request, machine_user="operator")
