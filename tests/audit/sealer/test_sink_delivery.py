"""A sealer with real sinks that refuse, hang and come back: everything arrives, nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otp_service.app import Application, run_sealer
from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.audit.archive_format.seals import build_anchor, find_anchors
from otp_service.audit.archive_format.segments import list_segments
from otp_service.audit.sinks import (
    FileSinkSettings,
    HttpSinkSettings,
    SyslogSinkSettings,
    create_sink,
)
from otp_service.audit.verification.verifier import Segment, verify_archive
from otp_service.settings.model import AuditSettings
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.app.test_application import settings_of
from tests.audit.sealed_log import SealedLog, run_until_idle
from tests.audit.sinks.syslog_server import SyslogServer
from tests.sms.conftest import ScriptedGateway
from tests.store import redis_servers


@pytest.fixture
async def log(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[SealedLog]:
    """The log on one server."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with ScriptClient(create_redis_client(url=server.url, timeout_ms=5000)) as link:
        yield SealedLog(link, tmp_path / "archive")


async def waiting(log: SealedLog) -> int:
    """Return how many entries Redis may not forget."""
    return sum(tail.waiting_count for tail in await log.source.fetch_pending(range(64), count=1))


async def until(log: SealedLog, sealer: Any, *, is_there: bool) -> None:
    """Take turns until the sinks have everything, or are found not to."""
    async with asyncio.timeout(20):
        while ("" == sealer.status.trouble and not await waiting(log)) is not is_there:
            await sealer.run_once()
            await asyncio.sleep(0.01)


async def test_a_collector_that_refuses_and_hangs_has_everything_in_the_end(log: SealedLog) -> None:
    """What it said 2xx to; and Redis kept until then what it had not."""
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
            await until(log, sealer, is_there=True)
            trouble()
            await log.append_events(f"in trouble {place}", partition=place)
            await until(log, sealer, is_there=False)
            assert 1 <= await waiting(log)
        gateway.set_handler(take)
        await until(log, sealer, is_there=True)
        await sealer.stop()

    log.assert_complete()
    assert set(log.read_lines()) == set(taken)


async def test_a_syslog_server_that_breaks_off_has_everything_in_the_end(
    log: SealedLog, certificate: Path
) -> None:
    """What was written to a connection that then broke is written again."""
    with SyslogServer(str(certificate)) as receiver:
        settings = SyslogSinkSettings(host="127.0.0.1", port=receiver.port, tls_ca=str(certificate))
        sealer = log.create_sealer(sinks=(create_sink("siem", settings),))
        await log.append_events("before")
        await until(log, sealer, is_there=True)
        receiver.end_mode = "reset"
        await log.append_events("in trouble")
        await until(log, sealer, is_there=False)
        assert 1 <= await waiting(log)
        receiver.end_mode = "tcp"
        await until(log, sealer, is_there=True)
        await run_until_idle(sealer)
        await sealer.stop()

        log.assert_complete()
        assert set(log.read_lines()) == set(receiver.parse_lines())


async def test_what_is_configured_is_where_lines_and_anchors_go(
    server: EmbeddedServer, tmp_path: Path, certificate: Path
) -> None:
    """From the settings on: two sinks, an anchor in a file, and `verify` believes both together."""
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
                pass  # it tells that it started and stopped
            async with asyncio.timeout(20):
                while not anchors.exists():  # noqa: ASYNC110  # a file tells nobody
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
