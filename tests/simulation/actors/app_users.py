"""Users of authenticator apps and recovery codes, and the back end that keeps their tokens."""

import asyncio
from typing import Final

import pyotp

from tests.simulation.actors.person import Person, draw_account_holder
from tests.simulation.actors.scene import Scene, get_text
from tests.simulation.history import Answered


PERIOD_MS: Final = 30_000
CODE_OFFSETS: Final = (0, 0, 1, 1, -1, 5)
"""Periods from now of the codes that are entered: after that of the next one, that of now is too old."""


class AppUser:
    """One account with an app, whose clock is right; the back end keeps `token` up to date."""

    def __init__(self, scene: Scene, person: Person) -> None:
        self.scene = scene
        self.person = person
        self.token = ""
        self._secret = ""

    async def enroll(self) -> bool:
        """Set the app up and confirm it; return whether the token is active."""
        created = await self.scene.call(
            "create_authenticator", self.person.tenant, account=self.person.account
        )
        token, secret = get_text(created, "authenticator"), get_text(created, "secret")
        if token is None or secret is None:
            return False
        self._secret = secret
        confirmed = await self.scene.call_until_known(
            "confirm_authenticator",
            self.person.tenant,
            authenticator=token,
            account=self.person.account,
            code=self.read_code(),
            idempotency_key=self.scene.make_key(),
        )
        self.token = get_text(confirmed, "authenticator") or ""
        return bool(self.token)

    def read_code(self, offset: int = 0) -> str:
        """Return what the app shows now, or so many periods later."""
        step = self.scene.world.read_true_ms() // PERIOD_MS + offset
        return pyotp.HOTP(self._secret).at(step)

    async def enter(self, code: str, key: str | None = None) -> bool:
        """Log in with a code; return whether it was accepted."""
        outcome = await self.scene.call(
            "verify_authenticator",
            self.person.tenant,
            authenticator=self.token,
            account=self.person.account,
            code=code,
            client_ip=self.person.client_ip,
            idempotency_key=key,
        )
        self.token = get_text(outcome, "authenticator") or self.token
        return isinstance(outcome, Answered)


async def use_app(scene: Scene) -> None:
    """Set an app up, and enter codes of several steps: right, replayed, older, and twice at once."""
    user, chance = AppUser(scene, draw_account_holder(scene.chance)), scene.chance
    if not await user.enroll():
        return
    for _ in range(1 + chance.draw_below(3)):
        await scene.wait(
            chance.pick((0.0, 31.0, 31.0))
        )  # at once it is the code of the confirmation
        for _ in range(1 + chance.draw_below(3)):
            code, key = user.read_code(chance.pick(CODE_OFFSETS)), scene.draw_key()
            await asyncio.gather(*(user.enter(code, key) for _ in range(chance.pick((1, 1, 2)))))


async def guess_app_codes(scene: Scene) -> None:
    """Enter wrong codes until the account refuses, and then the right one."""
    user = AppUser(scene, draw_account_holder(scene.chance))
    if not await user.enroll():
        return
    guesses = (f"{scene.chance.draw_below(10**6):06d}" for _ in range(8))
    await asyncio.gather(*(user.enter(guess) for guess in guesses))
    await scene.wait(31)
    await user.enter(user.read_code())


async def use_recovery_codes(scene: Scene) -> None:
    """Create a set, and use some of its codes: once, twice, and with an older token."""
    person, chance = draw_account_holder(scene.chance), scene.chance
    created = await scene.call("create_recovery_codes", person.tenant, account=person.account)
    token = get_text(created, "recovery_set")
    if token is None or not isinstance(created, Answered):
        return
    codes = list(map(str, created.value["codes"]))  # type: ignore[arg-type]  # a list
    tokens = [token]
    for _ in range(1 + chance.draw_below(3)):
        code = chance.pick(codes) if chance.has_luck(0.8) else "0000-0000-0000-0000"
        calls = [
            scene.call(
                "verify_recovery_code",
                person.tenant,
                recovery_set=chance.pick(tokens),
                account=person.account,
                code=code,
                client_ip=person.client_ip,
                idempotency_key=scene.draw_key(),
            )
            for _ in range(chance.pick((1, 1, 2)))
        ]
        outcomes = await asyncio.gather(*calls)
        tokens += [text for each in outcomes if (text := get_text(each, "recovery_set"))]
        await scene.wait_up_to(10)
