"""A replica is away, and people do what `Retry-After` says: afterwards all of them have logged in."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.errors import OtpError, StoreUnavailable
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import Installation
from tests.store import redis_servers


PEOPLE, OUTAGE_SECONDS = 40, 2.5
"""Measured once with 200 people and 15 s: 200 logged in, and 1,322 calls were 503."""

pytestmark = pytest.mark.slow


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """A master and its replica."""
    with (
        redis_servers.start_server(
            tmp_path / "master", port=redis_servers.find_free_port()
        ) as master,
        redis_servers.start_replica(tmp_path / "replica", master) as replica,
    ):
        yield master, replica


class Person:
    """Logs in, and waits for `Retry-After` after each 503; any other refusal ends the login."""

    def __init__(self, world: Installation, index: int) -> None:
        self.number, self.account = f"+4474001{index:05d}", f"u-{index}"
        self.world = world
        self.refusals: Counter[str] = Counter()

    async def issue(self) -> tuple[ChallengeSnapshot, str]:
        """Request a code until one was sent."""
        while True:
            with self._wait_if_unavailable():
                issued = await self.world.issue(
                    self.number, account=self.account, client_ip=f"2001:db8:{self.account[2:]}::1"
                )
                sent = [m.text for m in self.world.router.messages if m.to.e164 == self.number]
                return issued, re.findall(r"\b\d{6}\b", sent[-1])[0]
            await asyncio.sleep(1)

    async def verify(self, issued: ChallengeSnapshot, code: str) -> None:
        """Type the code until it is accepted; a repeat has the key of its first try."""
        while True:
            with self._wait_if_unavailable():
                await self.world.verify(issued, code, account=self.account, key=self.account)
                return
            await asyncio.sleep(1)

    @contextlib.contextmanager
    def _wait_if_unavailable(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable as error:
            self.refusals[f"503, {error.retry_after} s"] += 1
        except OtpError as error:
            self.refusals[type(error).__name__] += 1
            raise


async def test_everybody_who_waits_logs_in_after_a_replica_was_away(
    servers: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    """R79, design 8: 17 of 200 did, while charges were kept; 34 were locked and 149 were limited."""
    master, replica = servers
    lines = create_redis_lines(url=master.url, timeout_ms=5000)
    async with ScriptClient(lines, replicas=1, wait_ms=100) as script_client:
        world = Installation(script_client)
        people = [Person(world, i) for i in range(PEOPLE)]
        half = len(people) // 2
        issued = [await person.issue() for person in people[:half]]

        with redis_servers.suspend_server(replica):
            logins = [
                asyncio.create_task(person.verify(*code))
                for person, code in zip(people, issued, strict=False)
            ]
            logins += [asyncio.create_task(_log_in(person)) for person in people[half:]]
            await asyncio.sleep(OUTAGE_SECONDS)
            assert not any(login.done() for login in logins)
        async with asyncio.timeout(30):
            await asyncio.gather(*logins)

        refusals = sum((person.refusals for person in people), Counter())
        assert {"503, 1 s"} == set(refusals)
        assert refusals["503, 1 s"] >= PEOPLE
        assert [] == await world.list_keys("*:limit:Fail*")


async def _log_in(person: Person) -> None:
    await person.verify(*await person.issue())
