"""One process of the sealer, built as `app/archive.py` does it, that can die at any step."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from otp_service.audit.sealer.archive_writer import ArchiveWriter
from otp_service.audit.sealer.environment import SealerEnvironment
from otp_service.audit.sealer.sealer import Sealer
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sinks.base import SinkError
from otp_service.core.commit import Commit
from otp_service.core.events import ArchiveChanged, EpochStarted
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from otp_service.store.server_lines import ServerLines
from otp_service.task_end import wait_for_event
from tests.simulation.archive.folder import ArchiveFolder, SealerDisk
from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.world.configuration import ALL_KEY_IDS, build_configuration
from tests.simulation.world.host import Host
from tests.simulation.world.ports import Chance
from tests.simulation.world.site import Site
from tests.simulation.world.store_lines import HostConnector, cut_lines


PAUSES_SECONDS: Final = (0.05, 0.25, 0.25, 1.0, 1.0, 3.0, 5.0, 20.0, 60.0)
"""Between two turns. The service has 0.25, and 1 without the lease; most of a run is waiting."""


class ArchiveRules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an archive, as one run has them."""

    segment_bytes: int
    seal_seconds: float
    retention_ms: int | None


class RecordingSink:
    """A receiver of lines or of anchors, which every process reaches."""

    def __init__(self, chance: Chance) -> None:
        self.lines: list[bytes] = []
        self.is_failing = False
        self._chance = chance

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        await asyncio.sleep(0.01 * self._chance.draw_fraction())
        if self.is_failing:
            await asyncio.sleep(3 * self._chance.draw_fraction())
            raise SinkError("the sink is down")
        self.lines += lines


class SealerProcess:
    """A process with everything that it remembers; a restart makes another one."""

    def __init__(  # noqa: PLR0913  # what a process is started with
        self,
        host: Host,
        site: Site,
        *,
        folder: ArchiveFolder,
        rules: ArchiveRules,
        signer: Signer,
        sinks: tuple[RecordingSink, RecordingSink],
    ) -> None:
        """Build the process; `sinks` are that of lines and that of anchors."""
        self.host = host
        self.disk = SealerDisk(folder, self.crash)
        chance = site.chance.derive(f"sealer {host.name} {host.count_process()}")
        self._pauses = chance.derive("pauses")
        self._random = chance.to_random_source()
        self._lines = ServerLines(HostConnector(host.name, site))
        self._client = ScriptClient(
            self._lines,
            replicas=site.replicas,
            wait_ms=site.wait_ms,
            draw_bytes=self._random.token_bytes,
        )
        self._configuration = build_configuration(ALL_KEY_IDS)
        self._store = self._create_store()
        self._writer = ArchiveWriter(folder.path, segment_bytes=rules.segment_bytes, disk=self.disk)
        source = RedisArchiveSource(
            self._client, self._store.key_names, max_stream_entries=site.log.max_entries
        )
        environment = self._create_environment(rules, sinks)
        self.sealer = Sealer(
            source, self._writer, signer, environment, seal_seconds=rules.seal_seconds
        )
        self._stop = asyncio.Event()
        self._turns = asyncio.get_running_loop().create_task(self._run_turns())
        self._tasks = [self._turns]

    @property
    def is_dead(self) -> bool:
        return self.disk.is_dead

    def crash(self) -> None:
        """End the process at once: nothing that it does afterwards has an effect."""
        self.disk.is_dead = True
        for task in self._tasks:
            task.cancel()
        cut_lines(self._lines)
        self.sealer._close_all()

    async def catch_up(self) -> bool:
        """Run a turn; return whether this process is the leader, and has archived everything."""
        await self._end_turns()
        has_more = await self.sealer.run_once()
        is_well = not has_more and not self.sealer.status.trouble
        return self.sealer.is_leader and is_well

    async def stop(self) -> None:
        """End the process as a deployment does: it seals everything."""
        stopping = asyncio.get_running_loop().create_task(self._stop_sealer())
        self._tasks.append(stopping)
        await asyncio.wait([stopping])

    def _create_store(self) -> RedisStore:
        configuration = self._configuration
        keys = configuration.settings.keys
        return RedisStore(
            self._client,
            KeyNames(keys.limit.current),
            RecordCipher(keys, self._random.token_bytes),
            epoch_event=EpochStarted(id="epoch", versions=configuration.versions),
            has_archive=True,
        )

    def _create_environment(
        self, rules: ArchiveRules, sinks: tuple[RecordingSink, RecordingSink]
    ) -> SealerEnvironment:
        lines, anchors = sinks
        return SealerEnvironment(
            holder=self._random.generate_operation_id(),
            now=self.host.clock.read_ms,
            clock=asyncio.get_running_loop().time,
            has_valid_mac=self._store.cipher.verify_event,
            record_archive_change=self._record_archive_change,
            retention_ms=rules.retention_ms,
            sinks=(lines,),
            anchor_sinks=(anchors,),
        )

    async def _record_archive_change(self, reason: str, number: int) -> None:
        event = ArchiveChanged(
            id=self._random.token_bytes(16).hex(),
            versions=self._configuration.versions,
            reason=reason,
            missing=number if reason == "gap" else 0,
            seal=number if reason == "dropped" else 0,
        )
        commit = Commit(
            partition=self._store.key_names.compute_partition("service"),
            operation_id=self._random.generate_operation_id(),
            events=(event,),
        )
        await self._store.commit(commit)

    async def _stop_sealer(self) -> None:
        CURRENT_HOST.set(self.host.name)
        await self._end_turns()
        if not self.is_dead:
            await self.sealer.stop()
            await self._client.aclose()
            self.crash()

    async def _end_turns(self) -> None:
        """Let no further turn begin, and wait for the end of the present one."""
        self._stop.set()
        await asyncio.wait([self._turns])

    async def _run_turns(self) -> None:
        while not self._stop.is_set():
            await self.sealer.run_once()
            await wait_for_event(self._stop, self._pauses.pick(PAUSES_SECONDS))
