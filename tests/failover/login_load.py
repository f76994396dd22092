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
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeNotFound,
    IncorrectCode,
    OtpError,
    StoreUnavailable,
)
from otp_service.core.ports import ChallengeSnapshot
from otp_service.store.client import ScriptClient
from tests.installation import CountingHasher, Installation, make_wrong_code


RETRY_SECONDS = 0.3
"""Shorter than the second that Retry-After asks for, so that more calls meet the fault."""

MAX_RETRIES = 100
WRONG_GUESSES = 2
CONCURRENT_VERIFIES = 3

MAX_RUNS_PER_SALT = 6
"""One for the code that is issued, and one for each of the five attempts."""


class RecordingHasher(CountingHasher):
    """Counts the hashes for each salt, which belongs to one challenge."""

    def __init__(self) -> None:
        super().__init__()
        self.runs_by_salt: Counter[bytes] = Counter()

    async def compute_argon2id(
        self, code: str, salt: bytes, profile: Argon2Profile | None = None
    ) -> bytes:
        self.runs_by_salt[salt] += 1
        return await super().compute_argon2id(code, salt, profile)


@dataclass
class Login:
    """One challenge, and the answers to its calls."""

    issued: ChallengeSnapshot
    code: str
    success_count: int = 0
    incorrect_count: int = 0
    denied: list[str] = field(default_factory=list)

    @property
    def challenge_id(self) -> str:
        return Installation.get_challenge_id(self.issued)


class LoginLoad:
    """Runs logins until its block ends, and remembers every answer."""

    def __init__(self, link: ScriptClient) -> None:
        self.hasher = RecordingHasher()
        self.installation = Installation(link, hasher=self.hasher)
        self.logins: list[Login] = []
        self.refused_count = 0
        self.unexpected: list[BaseException] = []
        self._next_number = 0
        self._is_stopping = False

    @contextlib.asynccontextmanager
    async def run(self, *, workers: int) -> AsyncIterator[None]:
        """Run logins, each of a number of its own, during the block; then let them end."""
        tasks = [asyncio.create_task(self._log_in_repeatedly()) for _ in range(workers)]
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

    async def assert_promises_kept(self) -> None:
        """Assert what holds whatever failed; the store must answer again."""
        assert [] == self.unexpected
        assert all(login.success_count <= 1 for login in self.logins), "a code was accepted twice"
        assert max(self.hasher.runs_by_salt.values()) <= MAX_RUNS_PER_SALT, "a guess too many"
        await self._assert_no_code_is_accepted_again()
        await self._assert_no_event_is_lost()

    async def _assert_no_code_is_accepted_again(self) -> None:
        for login in self.logins:
            if login.success_count:
                with contextlib.suppress(ChallengeEnded, ChallengeNotFound):
                    await self.installation.verify(login.issued, login.code)
                    raise AssertionError("a code was accepted again after the fault")

    async def _assert_no_event_is_lost(self) -> None:
        events = await self.installation.read_events()
        counts = Counter((event["type"], event.get("challenge")) for event in events)
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

    async def _log_in_repeatedly(self) -> None:
        while not self._is_stopping:
            try:
                await self._log_in()
            except Exception as error:  # noqa: BLE001  # the oracle reports it
                self.unexpected.append(error)
                return
            await asyncio.sleep(0.05)

    async def _log_in(self) -> None:
        self._next_number += 1
        # A prefix for every fifty numbers: its limit is no subject here.
        prefix, line = divmod(self._next_number, 50)
        number = f"+447400{prefix:02d}{line:04d}"
        try:
            issued = await self.installation.issue(number)
        except StoreUnavailable:
            self.refused_count += 1
            await asyncio.sleep(RETRY_SECONDS)
            return
        message = next(m for m in self.installation.router.messages if m.to.e164 == number)
        index = self.installation.router.messages.index(message)
        login = Login(issued, self.installation.router.extract_code(index))
        self.logins.append(login)
        for offset in range(WRONG_GUESSES):
            await self._verify(login, make_wrong_code(login.code, offset + 1))
        calls = (self._verify_until_answered(login) for _ in range(CONCURRENT_VERIFIES))
        await asyncio.gather(*calls)

    async def _verify_until_answered(self, login: Login) -> None:
        for _ in range(MAX_RETRIES):
            if await self._verify(login, login.code):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _verify(self, login: Login, code: str) -> bool:
        """Verify once; return whether the answer is final."""
        try:
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
        return True
