"""The only replica is away for 15 s: whoever waits as Retry-After says logs in once it is back."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.errors import OtpError, StoreUnavailable
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from tests.installation import Installation
from tests.store import redis_servers


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PEOPLE = 20
"""As many that have a code when the replica is lost, and as many that ask for one then."""

OUTAGE_SECONDS = 15


class Person:
    """Repeats a call that is refused with 503 after a second, and no other call."""

    def __init__(self, installation: Installation, index: int) -> None:
        self._installation = installation
        self._number = f"+447400{index:02d}1234"
        self.refused_count = 0
        self.outcome = ""

    async def issue(self) -> ChallengeSnapshot:
        while True:
            try:
                return await self._installation.issue(self._number, account=self._number)
            except StoreUnavailable as error:
                self.refused_count += 1
                await asyncio.sleep(error.retry_after)

    async def verify(self, issued: ChallengeSnapshot) -> None:
        while True:
            try:
                await self._installation.verify(issued, self._find_code(), account=self._number)
            except StoreUnavailable as error:
                self.refused_count += 1
                await asyncio.sleep(error.retry_after)
            else:
                return

    async def log_in(self, issued: ChallengeSnapshot | None) -> None:
        try:
            await self.verify(issued or await self.issue())
        except OtpError as error:
            self.outcome = error.reason
        else:
            self.outcome = "logged in"

    def _find_code(self) -> str:
        messages = self._installation.router.messages
        places = [i for i, message in enumerate(messages) if message.to.e164 == self._number]
        return self._installation.router.extract_code(places[-1])


async def test_everybody_who_waits_logs_in_when_the_replica_is_back(tmp_path: Path) -> None:
    """R79: of 200 people, 17 did; 34 got 410 and 149 got 429, though nothing was compared or sent."""
    with (
        redis_servers.start_server(
            tmp_path / "master", port=redis_servers.find_free_port(), repl_diskless_sync_delay="0"
        ) as master,
        redis_servers.start_replica(tmp_path / "replica", master) as replica,
    ):
        lines = create_redis_lines(url=master.url, timeout_ms=2000)
        async with ScriptClient(lines, replicas=1, wait_ms=100) as link:
            installation = Installation(link)
            people = [Person(installation, index) for index in range(2 * PEOPLE)]
            issued: list[ChallengeSnapshot | None] = [
                await person.issue() for person in people[:PEOPLE]
            ]
            issued += [None] * PEOPLE
            pairs = zip(people, issued, strict=True)
            with redis_servers.suspend_server(replica):
                calls = [asyncio.create_task(person.log_in(one)) for person, one in pairs]
                await asyncio.sleep(OUTAGE_SECONDS)
                outcomes = {person.outcome for person in people}
                sent = len(installation.router.messages)
            await asyncio.gather(*calls)

    assert {""} == outcomes, "a call ended during the outage"
    assert PEOPLE == sent
    assert min(person.refused_count for person in people) >= 5
    assert {"logged in": 2 * PEOPLE} == Counter(person.outcome for person in people)
    assert 2 * PEOPLE == len(installation.router.messages)
