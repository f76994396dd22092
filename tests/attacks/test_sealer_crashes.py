"""A sealer that crashes, stalls or restarts: no entry is lost or doubled, and the archive verifies.

The program is killed at every call to the disk and to Redis: before the call, after it, and with
half of a write done. A real SIGKILL and a process suspended beyond its lease are tested with
processes.
"""

import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from otp_service.audit.archive_format.seals import SigningKey
from otp_service.audit.sealer.disk import Disk
from otp_service.audit.sealer.signer import Signer
from otp_service.core.errors import StoreUnavailable
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.audit.sealed_log import SIGNING_KEY, SealedLog, run_until_idle
from tests.store import redis_servers


class SealerKilled(BaseException):
    """Ends the process at this point."""


class FaultInjector:
    """Counts calls, and raises an error at the call with the given number.

    With `half` only writes are counted: half of another call would be all of it, as with `after`.
    """

    def __init__(
        self,
        at: int,
        when: str,
        disk_error: Callable[[], BaseException] = SealerKilled,
        redis_error: Callable[[], BaseException] = SealerKilled,
    ) -> None:
        self.at, self.when = at, when
        self.disk_error, self.redis_error = disk_error, redis_error
        self.calls = 0
        self.failed_call = ""

    def _count_call(self, name: str, *, has_half: bool) -> bool:
        self.calls += has_half or self.when != "half"
        if self.failed_call or self.calls < self.at:
            return False
        self.failed_call = name
        return True

    def call(self, name: str, run: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Make a call, unless it fails before or half-way."""
        fails_now = self._count_call(name, has_half=half is not None)
        if fails_now and self.when == "before":
            raise self.disk_error()
        if fails_now and half and self.when == "half":
            half()
            raise self.disk_error()
        answer = run()
        if fails_now:
            raise self.disk_error()
        return answer

    async def acall(self, name: str, run: Callable[[], Any]) -> Any:
        """Make a call to Redis, unless it fails before."""
        fails_now = self._count_call(name, has_half=False)
        if fails_now and self.when == "before":
            raise self.redis_error()
        answer = await run()
        if fails_now:
            raise self.redis_error()
        return answer


class FaultyDisk(Disk):
    """A disk whose calls may fail."""

    def __init__(self, injector: FaultInjector) -> None:
        self._injector = injector

    def open_file(self, path: Path) -> int:
        handle: int = self._injector.call("open", lambda: Disk.open_file(self, path))
        return handle

    def write_all(self, handle: int, data: bytes) -> None:
        half = lambda: os.write(handle, data[: len(data) // 2 + 1])  # noqa: E731
        self._injector.call("write", lambda: Disk.write_all(self, handle, data), half)

    def sync_file(self, handle: int) -> None:
        self._injector.call("sync", lambda: Disk.sync_file(self, handle))

    def truncate_file(self, handle: int, size: int) -> None:
        self._injector.call("cut", lambda: Disk.truncate_file(self, handle, size))

    def sync_folder(self, folder: Path) -> None:
        self._injector.call("sync_folder", lambda: Disk.sync_folder(self, folder))


class FaultySource:
    """A Redis whose calls may fail."""

    def __init__(self, source: Any, injector: FaultInjector) -> None:
        self._source, self._injector = source, injector

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            return self._injector.acall(
                name, lambda: getattr(self._source, name)(*arguments, **options)
            )

        return call


@pytest.fixture
async def script_client(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """Return a client of one empty server: differences between kinds of Redis do not matter here."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as script_client:
        yield script_client


async def seal_and_append(log: SealedLog, injector: FaultInjector) -> None:
    """Append events and seal them, with segments so short that each seal ends one."""
    sealer = log.create_sealer(
        disk=FaultyDisk(injector), source=FaultySource(log.source, injector), segment_bytes=1500
    )
    try:
        for round_ in range(3):
            for partition in (0, 7):
                await log.append_events(f"{injector.at}-{round_}-{partition}", partition=partition)
            await log.append_denial(7)
            await sealer.run_once()
            log.advance_clock(1.5)
        await sealer.stop()
    finally:
        sealer._writer.close()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after", "half"])
async def test_killed_at_every_call_nothing_is_lost_and_nothing_twice(
    script_client: ScriptClient, tmp_path: Path, when: str
) -> None:
    """R73.

    This test was seen to fail without the truncation of half a line, with half a seal counted as
    whole, and with the position recorded before the append without a check of the folder.
    """
    failed_calls, at = set(), 0
    while True:
        at += 1
        log, injector = SealedLog(script_client, tmp_path / str(at)), FaultInjector(at, when)
        await script_client.run_pipeline("", [("FLUSHALL",)])
        try:
            await seal_and_append(log, injector)
        except SealerKilled:
            pass
        else:
            break
        failed_calls.add(injector.failed_call)
        await log.expire_lease()
        successor = log.create_sealer(segment_bytes=1500)
        await log.append_events("afterwards")
        await run_until_idle(successor)
        await successor.stop()
        log.assert_complete()
    names = {"acquire_lease", "fetch_pending", "mark_archived", "open", "sync", "sync_folder"}
    expected = {"write"} if when == "half" else {*names, "write"}
    assert expected <= failed_calls


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after", "half"])
async def test_after_one_failure_the_same_sealer_continues(
    script_client: ScriptClient, tmp_path: Path, when: str
) -> None:
    """A full disk or a lost connection for a moment, at every call; also with both rounds odd."""
    full_disk = partial(OSError, 28, "No space left on device")
    at, has_failed = 0, True
    while has_failed:
        at += 1
        await script_client.run_pipeline("", [("FLUSHALL",)])
        log = SealedLog(script_client, tmp_path / str(at))
        injector = FaultInjector(at, when, full_disk, StoreUnavailable)
        sealer = log.create_sealer(
            disk=FaultyDisk(injector), source=FaultySource(log.source, injector), segment_bytes=1500
        )
        for round_ in range(3):
            await log.append_events(f"{at}-{round_}", partition=round_)
            try:
                await sealer.run_once()
            except (OSError, StoreUnavailable):
                pytest.fail("a turn never raises")
            log.advance_clock(0.6)
        await run_until_idle(sealer)
        await sealer.stop()
        if sealer.status.trouble:  # the last step failed
            successor = log.create_sealer()
            await log.expire_lease()
            await run_until_idle(successor)
            await successor.stop()
        log.assert_complete()
        has_failed = bool(injector.failed_call)
    assert at > (3 if when == "half" else 30)


@pytest.mark.slow
async def test_a_key_change_survives_a_crash_at_every_call(
    script_client: ScriptClient, tmp_path: Path
) -> None:
    """The last seal of the old key names the new one exactly once, wherever the sealer is killed."""
    new_key = SigningKey.generate()
    for when, calls in (("before", 12), ("after", 12), ("half", 3)):
        for at in range(1, calls):
            await script_client.run_pipeline("", [("FLUSHALL",)])
            log = SealedLog(script_client, tmp_path / f"{when}{at}")
            old_sealer = log.create_sealer()
            await log.append_events("a")
            await run_until_idle(old_sealer)
            await old_sealer.stop()
            signing, injector = Signer(new_key, SIGNING_KEY), FaultInjector(at, when)
            crashing_sealer = log.create_sealer(
                signing=signing,
                disk=FaultyDisk(injector),
                source=FaultySource(log.source, injector),
            )
            await log.append_events("b")
            try:
                await crashing_sealer.run_once()
            except SealerKilled:
                crashing_sealer._writer.close()
            await log.expire_lease()
            successor = log.create_sealer(signing=signing)
            await run_until_idle(successor)
            await successor.stop()
            log.assert_complete(SIGNING_KEY, new_key)
            assert 1 == sum(
                note.kind == "key" for note in log.verify_archive(SIGNING_KEY, new_key).notes
            )
