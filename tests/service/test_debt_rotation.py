"""What verifications repay after a rotation of the limit key: what was charged under the new one alone."""

import random
from collections import defaultdict
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import DEFAULT_LIMITS
from otp_service.core.policy import Policy
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, DebtUnit
from tests.installation import SECOND_MS, Installation
from tests.service.brake_books import (
    PRICE,
    REPAID_LIMITS,
    drain,
    start_brake,
)


LOOSE_LIMITS = {
    limit: tuple(replace(window, count=1000) for window in windows)
    if limit.startswith("Sends")
    else windows
    for limit, windows in DEFAULT_LIMITS.items()
}
POLICY = Policy(lifetime=600, sends=10)
SLOTS = 7
"""Of a window, as lua/debts.lua stores it; its verified ones are last."""


class RotatedShop:
    """Challenges of one range and one address, and under which key their messages were charged."""

    def __init__(self, installation: Installation, rng: random.Random) -> None:
        self.shop = start_brake(self._loosen(installation), policy=POLICY)
        self.rng = rng
        self.open: list[tuple[Any, str, int]] = []
        """Snapshot and code of each challenge, and its messages under the new key."""
        self.old_digests: set[str] = set()
        self.verified = 0
        """Challenges that had messages under the new key."""
        self._issued = 0
        self._loosen(self.shop)

    @staticmethod
    def _loosen(installation: Installation) -> Installation:
        limited = replace(installation.tenants["shop"], limits=LOOSE_LIMITS)
        installation.tenants["shop"] = limited
        return installation

    @property
    def is_rotated(self) -> bool:
        return bool(self.old_digests)

    async def rotate(self) -> None:
        """Put a new limit key in front of the one in force."""
        self.old_digests = set(map(parse_digest, await self.list_debt_keys()))
        now, keys = self.shop.clock_shift_ms, self.shop.keys
        ring = KeyRing((Key("limit-2", b"2" * 32), keys.limit.current))
        self.shop = self._loosen(
            start_brake(self.shop, keys=replace(keys, limit=ring), policy=POLICY)
        )
        self.shop.clock_shift_ms = now

    async def issue(self) -> None:
        number = f"+4474001234{self._issued:02d}"
        self._issued += 1
        issued = await self.shop.issue(number, client_ip="203.0.113.9")
        self.open.append((issued, self.shop.router.extract_code(), int(self.is_rotated)))

    async def resend(self) -> None:
        index = self.rng.randrange(len(self.open))
        issued, _, new_messages = self.open[index]
        self.shop.advance_clock(31 * SECOND_MS)
        issued = await self.shop.resend(issued)
        code = self.shop.router.extract_code()
        self.open[index] = (issued, code, new_messages + self.is_rotated)

    async def verify(self) -> None:
        issued, code, new_messages = self.open.pop(self.rng.randrange(len(self.open)))
        await self.shop.verify(issued, code)
        await drain(self.shop)
        self.verified += new_messages > 0

    async def play(self, *moves: str) -> None:
        """Make random moves; those of a challenge need an open one."""
        for _ in range(6):
            move = self.rng.choice(moves)
            await getattr(self, move if self.open else "issue")()

    async def read_new_sums(self) -> dict[str, tuple[int, int]]:
        """Return what is unverified and verified in a day under the new key, by limit.

        A resend of an older challenge charges its range in the partition of the challenge.
        """
        sums: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for key in await self.list_debt_keys():
            (packed,) = await self.shop.script_client.run_pipeline(key, [("GET", key)])
            values = msgspec.msgpack.decode(packed)
            limit = key.split(":")[2]
            if parse_digest(key) in self.old_digests:
                continue
            day = values[-2 * SLOTS :]
            before = sums[limit]
            sums[limit] = before[0] + sum(day[:SLOTS]), before[1] + sum(day[SLOTS:])
        return sums

    async def list_debt_keys(self) -> list[str]:
        return [key.decode() for key in await self.shop.list_keys("*:debt:*")]

    async def compare(self) -> None:
        """Compare what is stored under the new key with the messages that were charged under it."""
        left = sum(new_messages for *_, new_messages in self.open)
        sums = await self.read_new_sums()
        for limit in REPAID_LIMITS:
            one = PRICE if limit.unit is DebtUnit.MONEY else MESSAGE_UNITS
            assert (left * one, self.verified * one) == sums[limit], limit
        assert left == sums[DebtLimit.UNVERIFIED_COUNTRIES][0]


def parse_digest(key: str) -> str:
    """Return what the limit key has made of the subject of a bucket."""
    return key.rpartition(":")[2]


@pytest.mark.parametrize("seed", range(8))
async def test_a_verification_repays_what_its_messages_were_charged_under_the_new_key(
    installation: Installation, seed: int
) -> None:
    """On one Redis and on a cluster: old and new codes, resends of both, in any order."""
    shop = RotatedShop(installation, random.Random(seed))  # noqa: S311
    await shop.play("issue", "issue", "resend")
    await shop.rotate()

    await shop.play("issue", "resend")
    await shop.compare()
    await shop.play("issue", "verify", "verify")

    await shop.compare()
