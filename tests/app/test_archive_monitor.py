"""The monitor of the archive: metrics, the events of a full log, and readiness."""

import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from otp_service.app import Application, create_public_app
from otp_service.app.archive_monitor import ArchiveMonitor
from otp_service.settings.service_tables import AuditSettings, EventSettings
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.telemetry import Metrics
from tests.app.test_application import settings_of
from tests.audit.sealed_log import SealedLog, run_until_idle
from tests.store import redis_servers


class WatchedLog(SealedLog):
    """A log with a capacity of 20 events in each partition, and its monitor."""

    def __init__(self, link: ScriptClient, folder: Path) -> None:
        super().__init__(link, folder, maximum=20)
        self.metrics = Metrics("1", tenants=(), providers=())
        self.reasons: list[str] = []
        self.watch = ArchiveMonitor(self.source, self.metrics, 20, self._reason)

    async def _reason(self, reason: str) -> None:
        self.reasons.append(reason)

    async def read_metrics(self) -> dict[str, float]:
        """Update and return the metrics."""
        await self.watch.update_metrics()
        page = self.metrics.render_metrics()[0].decode().splitlines()
        found = [line.split(" ") for line in page if line.startswith("otp_audit_")]
        return {name.removeprefix("otp_audit_"): float(value) for name, value in found}


@pytest.fixture
async def log(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[WatchedLog]:
    """An empty log."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        yield WatchedLog(link, tmp_path / "archive")


async def test_metrics_show_that_no_sealer_leads(log: WatchedLog) -> None:
    """Also if there has never been one."""
    await log.append_events("a")

    seen = await log.read_metrics()

    assert (0, 2, 0.1) == (seen["leader"], seen["waiting"], seen["fullness"])
    assert seen["lag"] >= 0


async def test_metrics_show_the_last_seal_and_the_age_of_the_unsealed_events(
    log: WatchedLog,
) -> None:
    """From the status of the leader."""

    class AnchorSink:
        async def append_lines(self, lines: Sequence[bytes]) -> None:
            """Accept every line."""

    sealer = log.create_sealer(seal_seconds=3600, anchor_sinks=(AnchorSink(),))
    log.clock_shift_ms = -50_000
    await log.append_events("a")
    await run_until_idle(sealer)
    log.advance_clock(1.5)
    await sealer.run_once()
    before = await log.read_metrics()
    await sealer.stop()
    after = await log.read_metrics()

    assert (1, 0, 0) == (before["leader"], before["seal"], before["waiting"])
    assert 50 <= before["lag"] < 100
    assert (0, 1, 0) == (after["leader"], after["seal"], after["lag"])
    assert after["sealed_at"] > 1_700_000_000
    assert (0, after["sealed_at"]) == (before["anchored_at"], after["anchored_at"])
    assert after["archived"] == len(log.read_entries())


async def test_a_filling_log_is_logged_and_a_full_one_is_an_event(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    """R73: once each, and once when it has recovered."""
    caplog.set_level(logging.INFO)
    reasons = []
    for count in (5, 7, 3, 6, 1):
        await log.append_events(*map(str, range(count)))
        await log.read_metrics()
        reasons.append(list(log.reasons))
    assert [[], [], [], ["overflow"], ["overflow"]] == reasons
    sealer = log.create_sealer()
    await run_until_idle(sealer)
    await log.read_metrics()

    assert ["overflow", "recovered"] == log.reasons
    messages = [
        record.getMessage() for record in caplog.records if "fullest" in record.getMessage()
    ]
    assert 2 == len(messages)


async def test_from_nine_tenths_on_the_service_is_not_ready(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """Before a request is refused, and not much earlier."""
    settings = settings_of(server, tmp_path)
    audit, events = AuditSettings(archive=str(tmp_path / "archive")), EventSettings(maximum=1000)
    settings = replace(settings, audit=audit, events=events)
    async with Application(settings) as app:
        name = app.store.key_names.event_log_keys(7)[0]
        for waiting, expected in ((899, True), (900, False), (0, True)):
            await app.script_client.run_pipeline(name, [("HSET", name, "waiting", waiting)])
            assert expected is await create_public_app(app).state.context.is_ready()


@pytest.mark.parametrize(
    "said", [b"[" * 5000, b"{}x", b'{"sealed_at":"2026-11-24"}', b'{"seal":"1"}']
)
async def test_a_forged_status_of_the_sealer_hides_no_full_log(
    log: WatchedLog, said: bytes
) -> None:
    """A10: an attacker who writes to Redis cannot silence the alerts of the archive."""
    name = log.store.key_names.sealer_key()
    await log.script_client.run_pipeline(name, [("HSET", name, "status", said, "until", 0)])
    await log.append_events("a")

    seen = await log.read_metrics()

    assert (1, 2) == (seen["stuck"], seen["waiting"])
