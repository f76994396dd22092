"""A sealer with real sinks that refuse, hang and come back: everything arrives, nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otp_service.app import Application, seal
from otp_service.audit.archive_format.key_files import write_key
from otp_service.audit.archive_format.seals import anchor_of, anchors_in
from otp_service.audit.archive_format.segments import segments
from otp_service.audit.sinks import File, Http, Syslog, sink_of
from otp_service.audit.verification.verifier import Segment, verify
from otp_service.settings.model import Audit
from otp_service.store.client import Link
from otp_service.store.connect import connect
from otp_service.store.embedded import EmbeddedServer
from tests.app.test_application import settings_of
from tests.audit.sealed_log import Log, until_quiet
from tests.audit.sinks.syslog_server import Receiver
from tests.sms.conftest import Gateway
from tests.store import redis_servers


@pytest.fixture
async def log(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Log]:
    """The log on one server."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    async with Link(connect(url=server.url, timeout=5000)) as link:
        yield Log(link, tmp_path / "archive")


async def waiting(log: Log) -> int:
    """Return how many entries Redis may not forget."""
    return sum(tail.waiting for tail in await log.source.tails(range(64), count=1))


async def until(log: Log, sealer: Any, *, is_there: bool) -> None:
    """Take turns until the sinks have everything, or are found not to."""
    async with asyncio.timeout(20):
        while ("" == sealer.told.trouble and not await waiting(log)) is not is_there:
            await sealer.turn()
            await asyncio.sleep(0.01)


async def test_a_collector_that_refuses_and_hangs_has_everything_in_the_end(log: Log) -> None:
    """What it said 2xx to; and Redis kept until then what it had not."""
    async with Gateway() as gateway:
        taken: list[bytes] = []
        sealer = log.sealer(sinks=(sink_of("siem", Http(url=gateway.url, timeout=0.2)),))

        async def take(writer: asyncio.StreamWriter) -> None:
            taken.extend(gateway.asked[-1].body.splitlines())
            writer.write(b"HTTP/1.1 204 Taken\r\n\r\n")

        for place, trouble in enumerate((lambda: gateway.says(503, {}), gateway.hangs)):
            gateway.does(take)
            await log.tell(f"before {place}")
            await until(log, sealer, is_there=True)
            trouble()
            await log.tell(f"in trouble {place}", partition=place)
            await until(log, sealer, is_there=False)
            assert 1 <= await waiting(log)
        gateway.does(take)
        await until(log, sealer, is_there=True)
        await sealer.stop()

    log.check()
    assert set(log.lines()) == set(taken)


async def test_a_syslog_server_that_breaks_off_has_everything_in_the_end(
    log: Log, certificate: Path
) -> None:
    """What was written to a connection that then broke is written again."""
    with Receiver(str(certificate)) as receiver:
        settings = Syslog(host="127.0.0.1", port=receiver.port, tls_ca=str(certificate))
        sealer = log.sealer(sinks=(sink_of("siem", settings),))
        await log.tell("before")
        await until(log, sealer, is_there=True)
        receiver.ends = "reset"
        await log.tell("in trouble")
        await until(log, sealer, is_there=False)
        assert 1 <= await waiting(log)
        receiver.ends = "tcp"
        await until(log, sealer, is_there=True)
        await until_quiet(sealer)
        await sealer.stop()

        log.check()
        assert set(log.lines()) == set(receiver.lines())


async def test_what_is_configured_is_where_lines_and_anchors_go(
    server: EmbeddedServer, tmp_path: Path, certificate: Path
) -> None:
    """From the settings on: two sinks, an anchor in a file, and `verify` believes both together."""
    key = write_key(tmp_path / "audit.pem")
    (tmp_path / "elsewhere").mkdir()
    anchors = tmp_path / "elsewhere" / "anchors"
    async with Gateway() as gateway:
        with Receiver(str(certificate)) as receiver:
            syslog = Syslog(host="127.0.0.1", port=receiver.port, tls_ca=str(certificate))
            audit = Audit(
                archive=str(tmp_path / "archive"),
                signing_key=str(tmp_path / "audit.pem"),
                seal_seconds=1,
                anchor=File(path=str(anchors)),
                sinks={"siem": syslog, "collector": Http(url=gateway.url)},
            )
            settings = msgspec.structs.replace(settings_of(server, tmp_path), audit=audit)
            stop = asyncio.Event()
            sealing = asyncio.create_task(seal(settings, stop))
            async with Application(settings):
                pass  # it tells that it started and stopped
            async with asyncio.timeout(20):
                while not anchors.exists():  # noqa: ASYNC110  # a file tells nobody
                    await asyncio.sleep(0.02)
            stop.set()
            await sealing

            (path,) = segments(tmp_path / "archive")
            lines = path.read_bytes().splitlines()
            assert lines == list(dict.fromkeys(receiver.lines()))
            posted = [line for asked in gateway.asked for line in asked.body.splitlines()]
            assert lines == list(dict.fromkeys(posted))
    given = [Segment(str(path), path.parent.name, 1, path.read_bytes().splitlines(keepends=True))]
    kept = anchors_in(anchors.read_text())
    report = verify(given, [key.public], kept)
    assert ([], 0) == (report.findings, report.unsealed)
    assert anchor_of(lines[-1]) == kept[-1]
