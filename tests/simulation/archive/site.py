"""The archive of an installation: one folder, a sealer on each host, and their sinks."""

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from functools import cache
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otp_service.audit.archive_format.seals import SigningKey, decode_seal
from otp_service.audit.sealer.recovery import is_seal
from otp_service.audit.sealer.signer import Signer
from tests.simulation.archive.folder import ArchiveFolder
from tests.simulation.archive.process import ArchiveRules, RecordingSink, SealerProcess
from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.history import FaultKind
from tests.simulation.world.ports import Chance
from tests.simulation.world.site import EventLogRules
from tests.simulation.world.world import World


CATCH_UP_SECONDS: Final = 60
"""Longer than a lease, and than any backlog of a run takes."""


class ThreadDelays(Protocol):
    """The threads that the sealers write in."""

    extra_seconds: float


class ArchiveSite:
    """The sealers of one run: both hosts have one, and one of them is the leader."""

    def __init__(self, chance: Chance, world: World, threads: ThreadDelays) -> None:
        self.threads = threads
        self.folder = ArchiveFolder()
        self.sink = RecordingSink(chance.derive("sink"))
        self.anchor_sink = RecordingSink(chance.derive("anchors"))
        self.key_count = 1
        """How many signing keys there were so far; the newest one is in force."""
        self.lost_positions: list[str] = []
        """Of events that the log counted as archived when the machine lost them."""
        self.is_caught_up = False
        self.rules = _draw_rules(chance.derive("rules"))
        self._world = world
        self._rotations: list[asyncio.Task[None]] = []
        self._log_fault: int | None = None
        log = world.installation.site.log
        if log.max_entries < EventLogRules().max_entries:
            self._log_fault = world.recorder.start_fault(FaultKind.ARCHIVE_FULL, "small log")
        self.processes = {host: self._start(host) for host in world.installation.hosts}

    def crash(self, host: str) -> None:
        """Kill the sealer of a host, at this step."""
        self.processes[host].crash()

    def restart(self, host: str) -> None:
        """Start the sealer of a host with the present keys, or let one that runs go on."""
        self.processes[host].disk.calls_left = None
        if self.processes[host].is_dead:
            self.processes[host] = self._start(host)

    def can_rotate_key(self) -> bool:
        """Whether the present key is in force: it is only replaced then (docs/key-rotation.md)."""
        seals = [line for _, line in self.folder.read_lines() if is_seal(line)]
        if not seals:
            return False
        last, present = decode_seal(seals[-1]), build_key(self.key_count).public.id
        return (last.next.id if last.next else last.key) == present

    def start_rotation(self, hosts: Sequence[str], pause_seconds: float) -> None:
        """Replace one sealer after another by one with a new signing key."""

        async def rotate() -> None:
            for host in hosts:
                await self.replace(host)
                await asyncio.sleep(pause_seconds)

        self.key_count += 1
        self._rotations.append(asyncio.get_running_loop().create_task(rotate()))

    async def replace(self, host: str) -> None:
        """Stop the sealer of a host as a deployment does, and start it with the present keys."""
        await self.processes[host].stop()
        self.restart(host)

    def end_faults(self) -> None:
        """End every fault of the archive, and let the log have its usual capacity."""
        self.folder.end_faults()
        self.sink.is_failing = self.anchor_sink.is_failing = False
        self.threads.extra_seconds = 0.0
        for host in self.processes:
            self.restart(host)
        if self._log_fault is not None:
            self._world.installation.set_log_capacity(EventLogRules().max_entries)
            self._world.recorder.end_fault(self._log_fault)

    async def catch_up(self) -> None:
        """Let the sealers archive what the log has; the faults have ended before."""
        self.is_caught_up = False
        await asyncio.gather(*self._rotations)
        for _ in range(CATCH_UP_SECONDS):
            turns = [await process.catch_up() for process in self.processes.values()]
            if any(turns):
                self.is_caught_up = True
                return
            await asyncio.sleep(1)

    async def stop(self) -> None:
        """Let the sealers archive and seal everything, and end."""
        await self.catch_up()
        for process in self.processes.values():
            await process.stop()

    def _start(self, host: str) -> SealerProcess:
        return copy_context().run(self._build_process, host)

    def _build_process(self, host: str) -> SealerProcess:
        """Build a sealer in a context of its own: its task inherits the host."""
        CURRENT_HOST.set(host)
        installation = self._world.installation
        return SealerProcess(
            installation.hosts[host],
            installation.site,
            folder=self.folder,
            rules=self.rules,
            signer=build_signer(self.key_count),
            sinks=(self.sink, self.anchor_sink),
        )


@cache
def build_key(number: int) -> SigningKey:
    """Return the signing key with this number, from 1: the same one in each run."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def build_signer(key_count: int) -> Signer:
    """Return the newest of so many keys, with the one before it."""
    return Signer(build_key(key_count), build_key(key_count - 1) if key_count > 1 else None)


def _draw_rules(chance: Chance) -> ArchiveRules:
    return ArchiveRules(
        segment_bytes=chance.pick((1_000, 4_000, 1 << 20)),
        seal_seconds=chance.pick((0.0, 2.0, 10.0)),
        retention_ms=chance.pick((None, None, 10_000, 200_000)),
    )
