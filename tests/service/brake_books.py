"""An installation with the brake on SMS pumping, by a clock that only the test moves, and its books."""

from collections import defaultdict
from typing import Any

import msgspec

from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import MESSAGE_UNITS, BrakeMode, DebtLimit, DebtUnit, Floors
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.service.brake import Brake
from tests.installation import DAY_MS, HOUR_MS, Installation
from tests.service.frozen_workers import NOW, freeze_clock
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


PRICE = 40_000
"""Of a message to Great Britain, in the default table."""
NUMBER = "+447400123456"
CLIENT: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9"}
"""With these members, every scope takes part."""

WIDE_FLOORS = Floors(
    range_sends=(1000, 1000),
    block_sends=(1000, 1000),
    address_sends=(1000, 1000),
    address_countries=1000,
    country_money=(1000 * PRICE, 1000 * PRICE),
    new_countries_money=(1000 * PRICE, 1000 * PRICE),
)

_VALUES, _SLOTS = 15, 7  # of a window, as lua/debts.lua stores it

Books = dict[str, Any]


def start_brake(
    installation: Installation,
    mode: BrakeMode = BrakeMode.REFUSE,
    *,
    day_budget: int = 1000 * PRICE,
    modes: dict[str, BrakeMode] | None = None,
    floors: dict[str, Any] | None = None,
    **changes: Any,
) -> Installation:
    """Return the installation after a restart with the brake; scopes without `floors` are wide."""
    settings = {
        tenant: BrakeSettings(
            day_budget,
            (modes or {}).get(tenant, mode),
            msgspec.structs.replace(WIDE_FLOORS, **(floors or {})),
        )
        for tenant in installation.tenants
    }
    brake = Brake(settings, PriceTable(), now=lambda: started.clock_shift_ms)
    started = installation.restart(brake=brake, **changes)
    freeze_clock(started.store)
    started.clock_shift_ms = NOW
    return started


async def drain(installation: Installation) -> None:
    """Wait for the settlements and refunds of calls that have returned."""
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)


async def _read(installation: Installation, key: bytes, *command: str) -> Any:
    (value,) = await installation.script_client.run_pipeline(
        key.decode(), [(command[0], key, *command[1:])]
    )
    return value


async def read_debts(installation: Installation) -> Books:
    """Return what is unverified and verified in each bucket, of its hour and its day, as it is now.

    One that counts countries has unverified and verified messages of each, of its day.
    """
    books: Books = {}
    for key in await installation.list_keys("*:debt:*"):
        values = msgspec.msgpack.decode(await _read(installation, key, "GET"))
        name = key.decode().split(":debt:")[1]
        if isinstance(values[1], str):
            count = _count_slots(values[0], DAY_MS // 6, installation)
            books[name] = {
                values[start]: [
                    sum(values[first : first + count]) for first in (start + 1, start + 1 + _SLOTS)
                ]
                for start in range(1, len(values), _VALUES)
            }
            continue
        books[name] = [
            sum(values[first : first + _count_slots(values[start], slot_ms, installation)])
            for start, slot_ms in ((0, HOUR_MS // 6), (_VALUES, DAY_MS // 6))
            for first in (start + 1, start + 1 + _SLOTS)
        ]
    return books


def _count_slots(newest: int, slot_ms: int, installation: Installation) -> int:
    """Return how many stored slots of a window count now, from the newest one on."""
    return max(0, _SLOTS - (installation.clock_shift_ms // slot_ms - newest))


async def read_books(installation: Installation) -> Books:
    """Return all that a send changes: debts, known numbers, totals, and the names of limit buckets.

    A note that the budget of a country has refused is left out.
    """
    known = {
        key.decode(): msgspec.msgpack.decode(await _read(installation, key, "GET"))
        for key in await installation.list_keys("*:known:*")
    }
    totals: Books = {}
    for key in await installation.list_keys("*:traffic:*"):
        flat = await _read(installation, key, "HGETALL")
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        totals |= {
            f"{key.decode()} {name.decode()}": int(n)
            for name, n in fields.items()
            if name[-2:] != b":r"
        }
    return {
        "debts": await read_debts(installation),
        "known": known,
        "totals": totals,
        "limits": await installation.list_keys("*:limit:*"),
    }


async def sum_debts(installation: Installation) -> dict[str, tuple[int, int]]:
    """Return how many messages are unverified and verified in a day, by limit; empty ones are left out."""
    sums: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for name, book in (await read_debts(installation)).items():
        limit = name.split(":")[0]
        unit = DebtLimit(limit).unit
        if unit is DebtUnit.COUNTRIES:
            continue
        _, _, unverified, verified = book
        one = MESSAGE_UNITS if unit is DebtUnit.MESSAGES else PRICE
        before = sums[limit]
        sums[limit] = (before[0] + unverified // one, before[1] + verified // one)
    return dict(sums)


async def read_measures(installation: Installation) -> list[tuple[Any, Any]]:
    """Return measure and the limit that a send was over, of each event of a send."""
    started = {"otp.issued", "otp.resent", "delivery.created"}
    return [
        (event.get("measure"), event.get("over_limit"))
        for event in await installation.read_events()
        if event["type"] in started
    ]


REPAID_LIMITS = [
    DebtLimit.UNVERIFIED_RANGE,
    DebtLimit.UNVERIFIED_BLOCK,
    DebtLimit.UNVERIFIED_COUNTRY,
    DebtLimit.UNVERIFIED_NEW_COUNTRIES,
    DebtLimit.UNVERIFIED_ADDRESS,
]
