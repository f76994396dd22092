"""A sealer with real sinks that refuse, hang and recover: every line is delivered."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otp_service.app import Application, run_sealer
from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.audit.archive_format.seals import build_anchor, find_anchors
from otp_service.audit.archive_format.segments import list_segments
from otp_service.audit.sealer.sink_delivery import SinkDelivery
from otp_service.audit.sinks import (
    FileSinkSettings,
    HttpSinkSettings,
    SyslogSinkSettings,
    create_sink,
)
from otp_service.audit.sinks.base import SinkError
from otp_service.audit.verification.verifier import Segment, verify_archive
from otp_service.settings.service_tables import AuditSettings
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.app.test_application import settings_of
from tests.audit.sealed_log import SealedLog, run_until_idle
from tests.audit.sinks.syslog_server import SyslogServer
from tests.sms.conftest import ScriptedGateway
from tests.store import redis_servers


@pytest.fixture
async def log(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[SealedLog]:
    """The log on one server."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        yield SealedLog(link, tmp_path / "archive")


async def count_waiting(log: SealedLog) -> int:
    """Return the number of entries that Redis has to keep."""
    return sum(tail.waiting_count for tail in await log.source.fetch_pending(range(64), count=1))


async def run_until(log: SealedLog, sealer: Any, *, is_delivered: bool) -> None:
    """Run turns until the sinks have everything, or a failure is reported."""
    async with asyncio.timeout(20):
        while ("" == sealer.status.trouble and not await count_waiting(log)) is not is_delivered:
            await sealer.run_once()
            await asyncio.sleep(0.01)


async def test_a_collector_that_refused_and_hung_gets_everything(log: SealedLog) -> None:
    """It has the lines that it answered 2xx to; Redis keeps the others until then."""
    async with ScriptedGateway() as gateway:
        taken: list[bytes] = []
        sealer = log.create_sealer(
            sinks=(create_sink("siem", HttpSinkSettings(url=gateway.url, timeout=0.2)),)
        )

        async def take(writer: asyncio.StreamWriter) -> None:
            taken.extend(gateway.requests[-1].body.splitlines())
            writer.write(b"HTTP/1.1 204 Taken\r\n\r\n")

        for place, trouble in enumerate((lambda: gateway.set_reply(503, {}), gateway.hold_replies)):
            gateway.set_handler(take)
            await log.append_events(f"before {place}")
            await run_until(log, sealer, is_delivered=True)
            trouble()
            await log.append_events(f"in trouble {place}", partition=place)
            await run_until(log, sealer, is_delivered=False)
            assert 1 <= await count_waiting(log)
        gateway.set_handler(take)
        await run_until(log, sealer, is_delivered=True)
        await sealer.stop()

    log.assert_complete()
    assert set(log.read_lines()) == set(taken)


async def test_a_syslog_server_that_resets_connections_gets_everything(
    log: SealedLog, certificate: Path
) -> None:
    """Lines on a connection that breaks are delivered again."""
    with SyslogServer(str(certificate)) as receiver:
        settings = SyslogSinkSettings(host="127.0.0.1", port=receiver.port, tls_ca=str(certificate))
        sealer = log.create_sealer(sinks=(create_sink("siem", settings),))
        await log.append_events("before")
        await run_until(log, sealer, is_delivered=True)
        receiver.end_mode = "reset"
        await log.append_events("in trouble")
        await run_until(log, sealer, is_delivered=False)
        assert 1 <= await count_waiting(log)
        receiver.end_mode = "tcp"
        await run_until(log, sealer, is_delivered=True)
        await run_until_idle(sealer)
        await sealer.stop()

        log.assert_complete()
        assert set(log.read_lines()) == set(receiver.parse_lines())


async def test_lines_and_anchors_are_delivered_to_the_configured_sinks(
    server: EmbeddedServer, tmp_path: Path, certificate: Path
) -> None:
    """From the settings on: two sinks and an anchor in a file, which verify together."""
    key = create_key_files(tmp_path / "audit.pem")
    (tmp_path / "elsewhere").mkdir()
    anchors = tmp_path / "elsewhere" / "anchors"
    async with ScriptedGateway() as gateway:
        with SyslogServer(str(certificate)) as receiver:
            syslog = SyslogSinkSettings(
                host="127.0.0.1", port=receiver.port, tls_ca=str(certificate)
            )
            audit = AuditSettings(
                archive=str(tmp_path / "archive"),
                signing_key=str(tmp_path / "audit.pem"),
                seal_seconds=1,
                anchor=FileSinkSettings(path=str(anchors)),
                sinks={"siem": syslog, "collector": HttpSinkSettings(url=gateway.url)},
            )
            settings = msgspec.structs.replace(settings_of(server, tmp_path), audit=audit)
            stop = asyncio.Event()
            sealing = asyncio.create_task(run_sealer(settings, stop))
            async with Application(settings):
                pass  # records the events of its start and stop
            async with asyncio.timeout(20):
                while not anchors.exists():  # noqa: ASYNC110  # no notification of a file
                    await asyncio.sleep(0.02)
            stop.set()
            await sealing

            (path,) = list_segments(tmp_path / "archive")
            lines = path.read_bytes().splitlines()
            assert lines == list(dict.fromkeys(receiver.parse_lines()))
            posted = [line for asked in gateway.requests for line in asked.body.splitlines()]
            assert lines == list(dict.fromkeys(posted))
    given = [Segment(str(path), path.parent.name, 1, path.read_bytes().splitlines(keepends=True))]
    kept = find_anchors(anchors.read_text())
    report = verify_archive(given, [key.public], kept)
    assert ([], 0) == (report.findings, report.unsealed)
    assert build_anchor(lines[-1]) == kept[-1]


async def test_a_new_lease_ends_a_delivery_of_the_one_before() -> None:
    """Redis had lost the lease, and the sealer takes it again: a hanging sink would get an older anchor
    after the newest one, and nothing would take the error of the delivery. Found by the simulation.
    """

    class HangingSink:
        async def append_lines(self, lines: Sequence[bytes]) -> None:
            await release.wait()
            delivered.extend(lines)

    release, delivered = asyncio.Event(), list[bytes]()
    delivery = SinkDelivery([HangingSink()], [])
    delivery.reset_queues(b"")
    delivery.enqueue_lines([b"before"])
    assert isinstance(await delivery.flush_sinks(), SinkError)

    delivery.reset_queues(b"")
    delivery.enqueue_lines([b"after"])
    release.set()

    assert await delivery.flush_sinks() is None
    assert [b"after"] == delivered
