"""The sealer as it is deployed: in `serve`, in `dev` and alone; killed, suspended, and out of disk."""

import asyncio
import contextlib
import resource
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from otp_service.audit.archive_format.key_files import read_key
from otp_service.audit.archive_format.seals import SigningKey
from otp_service.core.commit import Commit
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import IssueDenied
from otp_service.settings import load_settings
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests import processes
from tests.audit.sealed_log import SealedLog, run_until_idle
from tests.processes import CHEAPEST_HASH_SETTINGS, GatewayServer
from tests.store import redis_servers


pytestmark = pytest.mark.slow

LEADER_MESSAGE = "this process seals the archive now"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """Return a Redis for one test."""
    with redis_servers.start_server(tmp_path / "redis") as redis:
        yield redis


def create_archive_key(folder: Path) -> SigningKey:
    """Create the signing key of an archive in this folder."""
    key = SigningKey.generate()
    path = folder / "audit.pem"
    path.touch(0o600)
    path.write_bytes(key.to_pem())
    return key


def build_audit_settings(folder: Path, **more: str) -> dict[str, str]:
    """Return the settings of an archive in this folder."""
    return {
        "AUDIT__ARCHIVE": str(folder / "archive"),
        "AUDIT__SIGNING_KEY": str(folder / "audit.pem"),
        "AUDIT__SEAL_SECONDS": "1",
        **more,
    }


# --------------------------------------------------------------------------- in the service process


def test_serve_seals_every_event_until_it_stops(redis: EmbeddedServer, tmp_path: Path) -> None:
    """With SIGHUP in between, and with the metrics of the sealer."""
    key = create_archive_key(tmp_path)
    with GatewayServer() as gateway:
        with processes.run_service(
            tmp_path,
            redis,
            [gateway.url],
            workers=1,
            **CHEAPEST_HASH_SETTINGS,
            **build_audit_settings(tmp_path),
        ) as service:
            issued = service.issue("+447400123456")
            assert 200 == service.verify(issued, gateway.find_code("+447400123456")).status
            redis_servers.wait_until(
                lambda: service.count_samples("otp_audit_seal") > 0, description="a seal"
            )
            assert 1 == service.count_samples("otp_audit_leader")
            assert 0 == service.count_samples("otp_audit_stuck")
            service.process.send_signal(signal.SIGHUP)
            redis_servers.wait_until(
                lambda: service.log.read_text().count(LEADER_MESSAGE) == 2,
                description="the next sealer",
            )
        log = SealedLog(None, tmp_path / "archive")  # type: ignore[arg-type]
        log.assert_complete(key)
    kinds = Counter(entry["event"]["type"] for entry in log.read_entries())
    assert 1 <= kinds["otp.issued"] == kinds["otp.verified"]
    changes = [e["event"] for e in log.read_entries() if e["event"]["type"] == "service.changed"]
    assert "stopped" == changes[-1]["reason"]


def test_dev_archives_into_its_data_folder_with_its_own_key(tmp_path: Path) -> None:
    """Over two starts."""
    for number in ("+447700900123", "+447700900124"):
        with processes.run_dev(tmp_path / "data") as service:
            assert 201 == service.issue(number, by="dev").status
            assert "every event, signed" in service.log.read_text()
    log = SealedLog(None, tmp_path / "data" / "archive")  # type: ignore[arg-type]

    log.assert_complete(read_key(tmp_path / "data" / "audit.pem"))

    assert 2 == sum(entry["event"]["type"] == "otp.issued" for entry in log.read_entries())


# -------------------------------------------------------------------------------------------- alone


class SealerProcesses:
    """Processes that seal one archive."""

    def __init__(self, folder: Path, redis: EmbeddedServer) -> None:
        self.folder = folder
        self.key = create_archive_key(folder)
        connect_to = f'url = "{redis.url}"'
        processes._write_config(folder / "otp.toml", connect_to, ["http://127.0.0.1:9"])
        text = (folder / "otp.toml").read_text()
        self.keys = load_settings(text, {}, str, cores=1).keys
        self._stack = contextlib.ExitStack()
        self._count = 0

    def start(self) -> "tuple[subprocess.Popen[bytes], Path]":
        """Start a sealer; return its process and its log."""
        self._count += 1
        settings = build_audit_settings(self.folder, AUDIT__SEAL="alone", EVENTS__MAXIMUM="1000")
        command = ["audit", "seal", "--config", str(self.folder / "otp.toml")]
        log = self.folder / f"sealer{self._count}.log"
        return self._stack.enter_context(processes._start_command(command, log, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


@pytest.fixture
async def log_and_sealers(
    redis: EmbeddedServer, tmp_path: Path
) -> AsyncIterator[tuple[SealedLog, SealerProcesses]]:
    """Return the log, and the processes that seal it."""
    async with ScriptClient(create_redis_lines(url=redis.url, timeout_ms=5000)) as link:
        with SealerProcesses(tmp_path, redis) as sealers:
            yield SealedLog(link, tmp_path / "archive", keys=sealers.keys), sealers


async def wait_until_true(condition: Callable[[], Any], seconds: float = 30.0) -> bool:
    """Wait for the condition; return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def wait_until_archived(log: SealedLog) -> None:
    """Wait until every appended event is in the archive."""
    assert await wait_until_true(lambda: set(log.expected_ids) <= set(log.list_event_ids()))


async def test_the_next_sealer_continues_after_a_sigkill(
    log_and_sealers: tuple[SealedLog, SealerProcesses],
) -> None:
    """R73: SIGKILL at any point of its work, with another sealer waiting."""
    sealed_log, sealers = log_and_sealers
    running = [sealers.start(), sealers.start()]
    for round_ in range(2):
        await wait_until_true(
            lambda: any(LEADER_MESSAGE in path.read_text() for _, path in running)
        )
        for i in range(40):
            await sealed_log.append_events(f"{round_}-{i}", partition=i % 8)
        leader = next(
            process_and_log
            for process_and_log in running
            if LEADER_MESSAGE in process_and_log[1].read_text()
        )
        leader[0].kill()
        leader[0].wait()
        running.remove(leader)
        running.append(sealers.start())
    await wait_until_archived(sealed_log)
    for process, _ in running:
        process.terminate()
        process.wait()

    sealed_log.assert_complete(sealers.key)


async def test_a_sealer_suspended_beyond_its_lease_does_no_harm(
    log_and_sealers: tuple[SealedLog, SealerProcesses],
) -> None:
    """SIGSTOP: after SIGCONT it still assumes that it leads, and both have been writing."""
    sealed_log, sealers = log_and_sealers
    first, second = sealers.start(), sealers.start()
    assert await wait_until_true(
        lambda: LEADER_MESSAGE in first[1].read_text() + second[1].read_text()
    )
    if LEADER_MESSAGE not in first[1].read_text():
        first, second = second, first
    taken_over = False
    while not taken_over:
        await sealed_log.append_events(secrets.token_hex(4))
        first[0].send_signal(signal.SIGSTOP)
        # A sealer suspended while it has the folder's lock excludes every other one: then try
        # again.
        taken_over = await wait_until_true(lambda: LEADER_MESSAGE in second[1].read_text(), 12)
        await sealed_log.append_events(secrets.token_hex(4), partition=9)
        first[0].send_signal(signal.SIGCONT)
    for i in range(20):
        await sealed_log.append_events(f"after-{i}", partition=i % 4)
    await wait_until_archived(sealed_log)
    for process, _ in (first, second):
        process.terminate()
        process.wait()

    sealed_log.assert_complete(sealers.key)


async def test_a_full_disk_refuses_grants_until_there_is_room_again(
    log_and_sealers: tuple[SealedLog, SealerProcesses],
) -> None:
    """R73: the disk returns EFBIG, which a resource limit can cause; nothing is lost."""
    sealed_log, sealers = log_and_sealers
    process, log_path = sealers.start()
    assert await wait_until_true(lambda: LEADER_MESSAGE in log_path.read_text())
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    granted = 0
    with contextlib.suppress(StoreUnavailable):
        for granted in range(3000):  # noqa: B007  # the number of grants
            await sealed_log.append_grant()
    assert 900 < granted < 2000
    await sealed_log.append_denial()
    await sealed_log.append_events("an outcome")
    assert await wait_until_true(lambda: "cannot be written" in log_path.read_text())
    await asyncio.sleep(1)  # enough time for a second log line
    assert 1 == log_path.read_text().count("cannot be written")

    resource.prlimit(
        process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    await wait_until_archived(sealed_log)
    await sealed_log.append_grant()
    process.terminate()
    process.wait()
    sealed_log.assert_complete(sealers.key)
    assert "archiving has resumed" in log_path.read_text()


# --------------------------------------------------------------------------------- sinks and floods


async def test_a_sink_that_hangs_refuses_grants_until_it_answers(
    redis: EmbeddedServer, tmp_path: Path
) -> None:
    """No event appended in the meantime is lost.

    This test was seen to fail with the position recorded before the sink had the events, and
    without the bound.
    """
    responds = asyncio.Event()
    received: list[bytes] = []

    class HangingSink:
        async def append_lines(self, lines: Any) -> None:
            await responds.wait()
            received.extend(lines)

    async with ScriptClient(create_redis_lines(url=redis.url, timeout_ms=5000)) as link:
        sealed_log = SealedLog(link, tmp_path / "archive", maximum=30)
        sealer = sealed_log.create_sealer(sinks=(HangingSink(),))
        await sealed_log.append_events("a")
        run = asyncio.create_task(sealer.run_once())
        with contextlib.suppress(StoreUnavailable):
            for _ in range(100):
                await sealed_log.append_grant()
        assert 20 < len(sealed_log.expected_ids) < 40
        await run
        await sealer.run_once()  # everything is on the disk, and it no longer waits for the sink
        with pytest.raises(StoreUnavailable):
            await sealed_log.append_grant()
        responds.set()
        await run_until_idle(sealer)
        await sealed_log.append_grant()
        await run_until_idle(sealer)
        await sealer.stop()

    sealed_log.assert_complete()
    assert set(sealed_log.read_lines()) == set(received)


async def test_a_flood_of_refusals_delays_no_grant_and_is_counted(
    redis: EmbeddedServer, tmp_path: Path
) -> None:
    """Ten thousand refusals for fifty numbers, in partitions that keep a thousand entries each."""
    async with ScriptClient(create_redis_lines(url=redis.url, timeout_ms=5000)) as link:
        sealed_log = SealedLog(link, tmp_path / "archive", maximum=1000)
        sealer = sealed_log.create_sealer()
        sent, slowest = 0, 0.0
        stop = asyncio.Event()
        sealing = asyncio.create_task(sealer.run(stop))

        async def flood() -> None:
            nonlocal sent
            while sent < 10_000:
                await sealed_log.store.commit_all(
                    [
                        Commit(
                            partition=sent % 8,
                            operation_id=secrets.token_hex(8),
                            foldable_event=IssueDenied(
                                id=secrets.token_hex(4),
                                tenant="shop",
                                number=f"1:{(sent + i) % 50}",
                            ),
                        )
                        for i in range(100)
                    ]
                )
                sent += 100

        flooding = asyncio.create_task(flood())
        while not flooding.done():
            started = time.monotonic()
            await sealed_log.append_grant(partition=sent % 8)
            slowest = max(slowest, time.monotonic() - started)
            await asyncio.sleep(0.01)
        await flooding
        # Otherwise the folded events may find no space, and no later event contains their count.
        while any(  # noqa: ASYNC110  # the condition is in Redis
            tail.entries for tail in await sealed_log.source.fetch_pending(range(8), count=1)
        ):
            await asyncio.sleep(0.05)
        sealed_log.clock_shift_ms = 120_000
        for partition in range(8):
            await sealed_log.store.flush_folds(partition, secrets.token_hex(8))
        stop.set()
        await sealing
        sealed_log.assert_complete()

    stamps = [
        e.get("stamp", {})
        for e in sealed_log.read_entries()
        if e["event"]["type"] == "otp.issue_denied"
    ]
    counted = sum(stamp.get("folded", 1) + stamp.get("unrecorded", 0) for stamp in stamps)
    assert sent == counted
    assert slowest < 2
    grants = [
        e["event"]["id"] for e in sealed_log.read_entries() if e["event"]["type"] == "otp.attempted"
    ]
    assert sorted(sealed_log.expected_ids) == sorted(grants)
