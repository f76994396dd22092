"""What a refused send is charged for a moment: nothing that others share, while many calls run at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from otp_service.core.errors import DebtLimited
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit
from tests.installation import Installation
from tests.service.brake_books import drain, read_debts, start_brake


RANGE = "+44740012"
ROOM = 12
ADDRESS = "203.0.113.9"


@contextlib.asynccontextmanager
async def hammer(shop: Installation, **fields: Any) -> AsyncIterator[list[DebtLimited]]:
    """Send to numbers of the range from ten connections at once; yield what they raise."""
    refusals: list[DebtLimited] = []

    async def repeat(caller: int) -> None:
        while True:
            try:
                await shop.issue(f"{RANGE}90{caller:02}", **fields)
            except DebtLimited as error:
                refusals.append(error)

    callers = [asyncio.create_task(repeat(caller)) for caller in range(10)]
    try:
        yield refusals
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


async def read_range(shop: Installation) -> int:
    """Return what is unverified of the range within an hour."""
    debts = await read_debts(shop)
    (book,) = [one for name, one in debts.items() if name.startswith(DebtLimit.UNVERIFIED_RANGE)]
    return int(book[0])


async def test_a_refused_address_takes_no_room_of_a_range(installation: Installation) -> None:
    """R29: a full address with ten calls at once filled a range, which refused others for an hour."""
    floors = {"range_sends": (ROOM + 2, ROOM + 2), "address_sends": (1, 1)}
    shop = start_brake(installation, floors=floors)
    fields = {"client_ip": ADDRESS}
    await shop.issue(f"{RANGE}9999", **fields)

    async with hammer(shop, **fields) as refusals:
        for index in range(ROOM):
            await shop.issue(f"{RANGE}80{index:02}", client_ip=f"198.51.100.{index}")
            await asyncio.sleep(0)

    await drain(shop)
    assert refusals
    assert {DebtLimit.UNVERIFIED_ADDRESS} == {one.limit for one in refusals}
    assert (ROOM + 1) * MESSAGE_UNITS == await read_range(shop)
