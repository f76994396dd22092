"""Logins under load while Redis fails, and an oracle that judges the answers.

The oracle knows only what a caller sees, what argon2 was asked, and what was sent. It is not told what
the store did.

    load = LoginLoad(link)
    async with load.run(workers=6):
        ...  # a fault and its end
    await load.assert_promises_kept()
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeNotFound,
    IncorrectCode,
    OtpError,
    RateLimited,
    StoreUnavailable,
)
from otp_service.store.client import ScriptClient
from tests.failover.books import GUESSES_PER_HOUR, Books, RecordingHasher, count_comparisons
from tests.installation import Installation, make_wrong_code


RETRY_SECONDS = 0.3
"""Shorter than the second that Retry-After asks for, so that more calls meet the fault."""

MAX_RETRIES = 100
WRONG_GUESSES = 2
CONCURRENT_VERIFIES = 3

CONCURRENT_GUESSES = 8
"""Of an attacker, at a challenge that admits five."""

MAX_RUNS_PER_SALT = 6
"""One for the code that is issued, and one for each of the five attempts."""


@dataclass
class Login:
    """One challenge, and the answers to its calls."""

    number: str
    issued: ChallengeSnapshot
    code: str
    success_count: int = 0
    incorrect_count: int = 0
    denied: list[str] = field(default_factory=list)

    @property
    def challenge_id(self) -> str:
        return Installation.get_challenge_id(self.issued)


class LoginLoad:
    """Runs logins and attacks until its block ends, and remembers every answer."""

    def __init__(self, link: ScriptClient, *, numbers_per_prefix: int = 50) -> None:
        self.numbers_per_prefix = numbers_per_prefix
        self.hasher = RecordingHasher()
        self.installation = Installation(link, hasher=self.hasher)
        self.books = Books(self.installation, self.hasher)
        self.attacked_numbers: set[str] = set()
        self.logins: list[Login] = []
        self.refused_count = 0
        self.unexpected: list[BaseException] = []
        self._next_number = 0
        self._attacks: Counter[str] = Counter()
        self._is_stopping = False

    @contextlib.asynccontextmanager
    async def run(self, *, workers: int, attackers: int = 0) -> AsyncIterator[None]:
        """Run logins, each of a number of its own, during the block; then let them end.

        Each attacker guesses at one number, in one challenge after another, beside its owner.
        """
        self.attacked_numbers = {f"+44740099{index:04d}" for index in range(attackers)}
        calls = [self._log_in] * workers
        calls += [partial(self._attack, number) for number in self.attacked_numbers]
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
                await asyncio.sleep(0.05)

    async def assert_promises_kept(
        self, *, hours: int = 1, max_unknown: int = 0, archived: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Assert what holds whatever failed; the store must answer again.

        `hours` have begun by Redis's clock. `max_unknown` is that of the books. `archived` are the
        events that an archive has.
        """
        assert [] == self.unexpected
        assert all(login.success_count <= 1 for login in self.logins), "a code was accepted twice"
        assert max(self.hasher.runs_by_salt.values()) <= MAX_RUNS_PER_SALT, "a guess too many"
        for number in self.attacked_numbers:
            guesses = self.hasher.guesses[number]
            assert guesses <= hours * GUESSES_PER_HOUR, "a guess over the limit of the number"
        await self._assert_no_code_is_accepted_again()
        await self._assert_no_event_is_lost(archived)
        await self.books.assert_balanced(max_unknown=max_unknown)

    async def wait_for_guesses(self, count: int, *, timeout_seconds: float = 30.0) -> None:
        """Wait until so many codes of attackers were compared."""
        async with asyncio.timeout(timeout_seconds):
            while self.count_guesses() < count:  # noqa: ASYNC110  # many tasks count them
                await asyncio.sleep(0.05)

    def count_grants(self) -> tuple[int, int]:
        """Return how many messages were sent, and how many codes were compared."""
        sent = len(self.installation.router.messages)
        return sent, self.hasher.comparisons.total()

    def count_guesses(self) -> int:
        """Return how many wrong codes of attackers were compared."""
        return sum(self.hasher.guesses[number] for number in self.attacked_numbers)

    async def _assert_no_code_is_accepted_again(self) -> None:
        for login in self.logins:
            if login.success_count:
                with contextlib.suppress(ChallengeEnded, ChallengeNotFound):
                    await self.installation.verify(login.issued, login.code)
                    raise AssertionError("a code was accepted again after the fault")

    async def _assert_no_event_is_lost(self, archived: Sequence[dict[str, Any]]) -> None:
        events = {e["id"]: e for e in (*archived, *await self.installation.read_events())}
        counts = Counter((event["type"], event.get("challenge")) for event in events.values())
        for login in self.logins:
            assert counts["otp.issued", login.challenge_id] == 1
            verified_count = counts["otp.verified", login.challenge_id]
            # A success whose answer was lost has its event, and its caller does not know of it.
            assert login.success_count <= verified_count <= 1
            # WAIT follows the attempt charge; the event of the rejection after it may be lost.
            answered = login.incorrect_count + login.success_count
            assert counts["otp.attempted", login.challenge_id] >= answered

    def _count_successes(self) -> int:
        return sum(login.success_count for login in self.logins)

    async def _repeat(self, call: Callable[[], Awaitable[None]]) -> None:
        while not self._is_stopping:
            try:
                await call()
            except Exception as error:  # noqa: BLE001  # the oracle reports it
                self.unexpected.append(error)
                return
            await asyncio.sleep(0.05)

    async def _log_in(self) -> None:
        self._next_number += 1
        prefix, line = divmod(self._next_number, self.numbers_per_prefix)
        login = await self._issue(f"+447400{prefix:02d}{line:04d}")
        if login is None:
            return
        for offset in range(WRONG_GUESSES):
            await self._verify(login, make_wrong_code(login.code, offset + 1))
        calls = (self._verify_until_answered(login) for _ in range(CONCURRENT_VERIFIES))
        await asyncio.gather(*calls)

    async def _attack(self, number: str) -> None:
        """Guess, or log in as the owner of the number, which ends the delays after failures."""
        login = await self._issue(number)
        if login is None:
            return
        self._attacks[number] += 1
        if self._attacks[number] % 2:
            codes = (make_wrong_code(login.code, i + 1) for i in range(CONCURRENT_GUESSES))
            await asyncio.gather(*(self._verify(login, code) for code in codes))
        else:
            await self._verify(login, login.code)

    async def _issue(self, number: str) -> Login | None:
        self.books.numbers.add(number)
        try:
            issued = await self.installation.issue(number)
        except (StoreUnavailable, RateLimited) as error:
            self.refused_count += isinstance(error, StoreUnavailable)
            await asyncio.sleep(RETRY_SECONDS)
            return None
        reference = f".{Installation.get_challenge_id(issued)}."
        messages = self.installation.router.messages
        index = next(i for i, message in enumerate(messages) if reference in message.reference)
        login = Login(number, issued, self.installation.router.extract_code(index))
        self.logins.append(login)
        return login

    async def _verify_until_answered(self, login: Login) -> None:
        for _ in range(MAX_RETRIES):
            if await self._verify(login, login.code):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _verify(self, login: Login, code: str) -> bool:
        """Verify once; return whether the answer is final."""
        try:
            with count_comparisons(login.number, is_guess=code != login.code):
                await self.installation.verify(login.issued, code)
        except StoreUnavailable:
            self.refused_count += 1
            return False
        except IncorrectCode:
            login.incorrect_count += 1
            assert code != login.code
        except OtpError as error:
            login.denied.append(error.reason)
        else:
            assert code == login.code
            login.success_count += 1
            self.books.successes[login.number] += 1
        return True
