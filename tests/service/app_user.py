"""A user with an authenticator app, and the login back end that keeps the token of the account."""

import asyncio
from typing import Any

import pyotp

from otp_service.core.commit import Commit, CommitOutcome, RecordName
from otp_service.schemas import (
    ConfirmAuthenticatorRequest,
    CreateAuthenticatorRequest,
    VerifyAuthenticatorRequest,
)
from otp_service.service.authenticator_check import AuthenticatorAnswer
from otp_service.service.authenticator_service import NewAuthenticator
from tests.installation import SECOND_MS, Installation


PERIOD_MS = 30 * SECOND_MS
ANY_RECORD = RecordName("answer", "shop", "time")


def hold_acceptances(count: int, *installations: Installation) -> None:
    """Let the first acceptances wait until this many calls have decided to accept."""
    barrier = asyncio.Barrier(count)
    waiting = iter(range(count))

    def hold(installation: Installation) -> None:
        commit = installation.store.commit

        async def hold_first(decision: Commit) -> CommitOutcome:
            is_acceptance = decision.record_swaps and not decision.charges
            if is_acceptance and next(waiting, None) is not None:
                await asyncio.wait_for(barrier.wait(), 20)
            return await commit(decision)

        installation.store.commit = hold_first  # type: ignore[method-assign,assignment]

    for installation in installations:
        hold(installation)


async def empty(installation: Installation) -> None:
    """Delete everything, as a Redis that was restarted without its files."""
    for master in await installation.script_client.list_masters():
        await installation.script_client.read_from(master, "FLUSHALL")


async def pass_time(installation: Installation, milliseconds: int) -> None:
    """Move the clock, and delete the records of accounts that Redis deletes meanwhile.

    `advance_clock` moves the time that scripts read, and Redis deletes keys by its own clock.
    """
    for name in await installation.list_keys("*"):
        key = name.decode()
        (lifetime_ms,) = await installation.script_client.read_each([key], "PTTL")
        if 0 <= lifetime_ms <= milliseconds and key.split(":")[1] in {"authenticator", "recovery"}:
            await installation.store.client.run_pipeline(key, [("DEL", key)])
    installation.advance_clock(milliseconds)


class AppUser:
    """One account at one tenant; the app's clock is that of Redis."""

    def __init__(
        self, installation: Installation, account: str = "u-81", tenant: str = "shop"
    ) -> None:
        self.installation = installation
        self.account = account
        self.tenant = tenant
        self.token = ""
        self.unconfirmed_token = ""
        self.secret = ""

    async def create(self, **fields: Any) -> NewAuthenticator:
        """Enroll the app; it is not confirmed yet."""
        caller = self.installation.build_caller(self.tenant)
        request = CreateAuthenticatorRequest(self.account, **fields)
        created = await self.installation.service.authenticators.create(caller, request)
        self.token = self.unconfirmed_token = created.token
        self.secret = created.base32_secret
        return created

    async def enroll(self, **fields: Any) -> AuthenticatorAnswer:
        """Enroll the app and confirm it with the code of the present step."""
        await self.start_step()
        await self.create(**fields)
        answer = await self.confirm(await self.read_code())
        self.token = answer.token
        return answer

    async def confirm(self, code: str, *, key: str | None = None) -> AuthenticatorAnswer:
        """Send the unconfirmed token with a code."""
        caller = self.installation.build_caller(self.tenant)
        request = ConfirmAuthenticatorRequest(self.unconfirmed_token, self.account, code)
        return await self.installation.service.authenticators.confirm(caller, request, key)

    async def verify(
        self, code: str, *, key: str | None = None, token: str | None = None, **fields: Any
    ) -> AuthenticatorAnswer:
        """Send the token of the account with a code."""
        caller = self.installation.build_caller(self.tenant)
        request = VerifyAuthenticatorRequest(token or self.token, self.account, code, **fields)
        return await self.installation.service.authenticators.verify(caller, request, key)

    async def read_time(self) -> int:
        """Return the time of Redis, moved by the test."""
        now, _ = await self.installation.store.get_record(0, ANY_RECORD)
        return now

    async def start_step(self, offset: int = 1) -> None:
        """Move the clock to one second after the begin of a later step."""
        now = await self.read_time()
        begin = (now // PERIOD_MS + offset) * PERIOD_MS
        self.installation.advance_clock(begin + SECOND_MS - now)

    async def read_code(self, offset: int = 0) -> str:
        """Return what the app shows in the present step, or in one before or after it."""
        return self.compute_code(await self.read_time() // PERIOD_MS + offset)

    async def read_new_code(self) -> str:
        """Return a code that was not used: that of a later step, to which the clock moves."""
        await self.start_step()
        return await self.read_code()

    async def read_wrong_code(self) -> str:
        """Return a code of no step near the present one."""
        near = {await self.read_code(offset) for offset in range(-3, 4)}
        return next(code for code in map("{:06d}".format, range(10)) if code not in near)

    def compute_code(self, step: int) -> str:
        return pyotp.HOTP(self.secret).at(step)
