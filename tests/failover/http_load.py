"""Logins and attacks over HTTP while Redis fails, and an oracle that judges the answers.

The service is a process of its own. What argon2 compared is written to a file by `SITECUSTOMIZE`.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.installation import make_wrong_code
from tests.processes import GatewayServer, HttpResponse, RunningService


SITECUSTOMIZE = """
import os
from otp_service.service.code_verifier import CodeVerifier

compute_hash = CodeVerifier._compute_hash
comparisons = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def record_comparison(self, *arguments):
    os.write(comparisons, self._challenge.id.encode() + b"\\n")
    return await compute_hash(self, *arguments)

CodeVerifier._compute_hash = record_comparison
"""

MAX_ATTEMPTS = 5
WRONG_GUESSES = 2
CONCURRENT_VERIFIES = 3
CONCURRENT_GUESSES = 8
RETRY_SECONDS = 0.3

EXPECTED_STATUSES = {200, 403, 410, 422, 429, 503}


@dataclass
class HttpLogin:
    """One challenge, and the statuses of its verifies."""

    issued: HttpResponse
    code: str
    statuses: list[int] = field(default_factory=list)

    @property
    def challenge_id(self) -> str:
        return str(self.issued.json["id"])


class HttpLoad:
    """Runs logins and attacks until its block ends, and remembers every answer."""

    def __init__(self, service: RunningService, gateway: GatewayServer, comparisons: Path) -> None:
        self.logins: list[HttpLogin] = []
        self.refused_count = 0
        self._service, self._gateway, self._comparisons = service, gateway, comparisons
        self._next_number = 0
        self._is_stopping = False

    @contextlib.asynccontextmanager
    async def run(self, *, workers: int, attackers: int) -> AsyncIterator[None]:
        """Run logins and attacks, each with a number of its own; then let them end."""
        threads = workers * CONCURRENT_VERIFIES + attackers * CONCURRENT_GUESSES
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        calls = [self._log_in] * workers + [self._attack] * attackers
        tasks = [asyncio.create_task(self._repeat(call)) for call in calls]
        try:
            yield
        finally:
            self._is_stopping = True
            await asyncio.gather(*tasks)

    async def wait_for_logins(self, count: int, *, timeout_seconds: float = 30.0) -> None:
        """Wait until so many more logins have succeeded."""
        goal = self._count_successes() + count
        async with asyncio.timeout(timeout_seconds):
            while self._count_successes() < goal:  # noqa: ASYNC110  # many tasks count them
                await asyncio.sleep(0.1)

    def assert_promises_kept(self) -> None:
        """Assert what holds whatever failed; the service must answer again."""
        compared = Counter(self._comparisons.read_text().split())
        assert max(compared.values()) <= MAX_ATTEMPTS, "a guess too many"
        for login in self.logins:
            assert login.statuses.count(200) <= 1, "a code was accepted twice"
            assert EXPECTED_STATUSES >= {*login.statuses}
            view = self._service.view(login.issued).json
            if view["status"] == "verified":
                assert self._service.verify(login.issued, login.code).status == 410
            else:
                charged = MAX_ATTEMPTS - view["attempts_left"]
                assert charged <= compared[login.challenge_id], "charged, and not compared"
                assert 200 not in login.statuses, "an accepted code is forgotten"

    def _count_successes(self) -> int:
        return sum(200 in login.statuses for login in self.logins)

    async def _repeat(self, call: Callable[[], Awaitable[None]]) -> None:
        while not self._is_stopping:
            await call()

    async def _log_in(self) -> None:
        login = await self._issue()
        if login is None:
            return
        for offset in range(WRONG_GUESSES):
            await self._verify(login, make_wrong_code(login.code, offset + 1))
        calls = (self._verify_until_answered(login) for _ in range(CONCURRENT_VERIFIES))
        await asyncio.gather(*calls)

    async def _attack(self) -> None:
        login = await self._issue()
        if login is not None:
            codes = (make_wrong_code(login.code, i + 1) for i in range(CONCURRENT_GUESSES))
            await asyncio.gather(*(self._verify(login, code) for code in codes))

    async def _issue(self) -> HttpLogin | None:
        self._next_number += 1
        # A prefix for every 25 numbers: its limit is no subject here.
        prefix, line = divmod(self._next_number, 25)
        number = f"+447400{prefix:02d}{line:04d}"
        issued = await asyncio.to_thread(self._service.issue, number)
        if issued.status == 503:
            self.refused_count += 1
            await asyncio.sleep(RETRY_SECONDS)
            return None
        assert issued.status == 201, issued
        login = HttpLogin(issued, self._gateway.find_code(number))
        self.logins.append(login)
        return login

    async def _verify_until_answered(self, login: HttpLogin) -> None:
        while await self._verify(login, login.code) == 503:  # noqa: ASYNC110  # no event
            await asyncio.sleep(RETRY_SECONDS)

    async def _verify(self, login: HttpLogin, code: str) -> int:
        call = partial(self._service.verify, login.issued, code)
        status = (await asyncio.to_thread(call)).status
        assert status != 200 or code == login.code
        login.statuses.append(status)
        self.refused_count += status == 503
        return status
