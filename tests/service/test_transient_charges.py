"""What a refused send is charged for a moment: nothing that others share, while many calls run at once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from otp_service.core.errors import DebtLimited, NumberNotAllowed, OtpError
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit
from otp_service.core.risk import RiskAssessment, RiskQuery
from tests.installation import Installation
from tests.service.brake_books import drain, read_debts, start_brake
from tests.service.test_risk_check import ALLOWED, REFUSED


RANGE = "+44740012"
ROOM = 12
ADDRESS = "203.0.113.9"


@contextlib.asynccontextmanager
async def hammer(shop: Installation, **fields: Any) -> AsyncIterator[list[OtpError]]:
    """Send to numbers of the range from ten connections at once; yield what they raise."""
    refusals: list[OtpError] = []

    async def repeat(caller: int) -> None:
        while True:
            try:
                await shop.issue(f"{RANGE}90{caller:02}", **fields)
            except OtpError as error:
                refusals.append(error)

    callers = [asyncio.create_task(repeat(caller)) for caller in range(10)]
    try:
        yield refusals
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


class RefusingRiskService:
    """Refuses one client address after a while, and notes whom it was asked about."""

    def __init__(self) -> None:
        self.addresses: Counter[str | None] = Counter()

    async def assess(self, query: RiskQuery) -> RiskAssessment:
        self.addresses[query.client_ip] += 1
        if query.client_ip != ADDRESS:
            return ALLOWED
        await asyncio.sleep(
            0.02
        )  # a real service takes longer, and has no clock that a test could move
        return REFUSED


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
    limits = {one.limit for one in refusals if isinstance(one, DebtLimited)}
    assert {DebtLimit.UNVERIFIED_ADDRESS} == limits
    assert all(isinstance(one, DebtLimited) for one in refusals)
    assert (ROOM + 1) * MESSAGE_UNITS == await read_range(shop)


async def test_a_client_that_the_risk_service_refuses_takes_no_room_of_a_range(
    installation: Installation,
) -> None:
    """R31: it was charged while the service was asked, and 4 to 7 of 8 others were refused for an hour."""
    risk = RefusingRiskService()
    shop = start_brake(installation, risk_service=risk, floors={"range_sends": (ROOM, ROOM)})

    async with hammer(shop, client_ip=ADDRESS) as refusals:
        for index in range(ROOM - 1):
            await shop.issue(f"{RANGE}80{index:02}", client_ip=f"198.51.100.{index}")
            await asyncio.sleep(0)

    await drain(shop)
    assert refusals
    assert all(isinstance(one, NumberNotAllowed) for one in refusals)
    assert (ROOM - 1) * MESSAGE_UNITS == await read_range(shop)


async def test_the_risk_service_is_not_asked_about_a_send_that_the_brake_refuses(
    installation: Installation,
) -> None:
    """R31: a vendor may be paid for each question. A known number is sent to, and asked about."""
    risk = RefusingRiskService()
    shop = start_brake(installation, risk_service=risk, floors={"range_sends": (1, 1)})
    known = await shop.issue(f"{RANGE}8000", client_ip="198.51.100.1")
    await shop.verify(known, shop.router.extract_code())
    await drain(shop)
    await shop.issue(f"{RANGE}8001", client_ip="198.51.100.2")
    risk.addresses.clear()

    with pytest.raises(DebtLimited):
        await shop.issue(f"{RANGE}8002", client_ip="198.51.100.3")
    shop.advance_clock(31_000)
    await shop.issue(f"{RANGE}8000", client_ip="198.51.100.1")

    assert {"198.51.100.1": 1} == risk.addresses
