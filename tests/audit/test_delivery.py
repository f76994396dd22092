"""A sealer with real sinks that refuse, hang and come back: everything arrives, nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from otp_service.audit.sinks import Http, Syslog, sink_of
from otp_service.store.connect import connect
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.link import Link
from tests.audit.receivers import Receiver
from tests.audit.sealed import Log, until_quiet
from tests.sms.conftest import Gateway
from tests.store import servers


@pytest.fixture
async def log(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Log]:
    """The log on one server."""
    with servers.client_of(server) as client:
        client.flushall()
    async with Link(connect(url=server.url, timeout=5000)) as link:
        yield Log(link, tmp_path / "archive")


async def waiting(log: Log) -> int:
    """Return how many entries Redis may not forget."""
    return sum(tail.waiting for tail in await log.source.tails(range(64), count=1))


async def until(log: Log, sealer: Any, *, is_there: bool) -> None:
    """Take turns until the sinks have everything, or are found not to."""
    async with asyncio.timeout(20):
        while ("" == sealer._told.trouble and not await waiting(log)) is not is_there:
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
