"""An address from which messages go to cheap and to dear countries: UnverifiedPerClientAddress."""

from typing import Any

import pytest

from otp_service.core.errors import DebtLimited, DeliveryFailed
from otp_service.core.keys import Key, KeyRing, ServiceKeys
from otp_service.core.pumping.bot_check import BotCheck
from otp_service.core.pumping.scopes import MESSAGE_UNITS, BrakeMode, DebtLimit
from tests.installation import PROVIDER_REFUSAL, Installation
from tests.service.brake_books import PRICE, drain, read_books, read_debts, start_brake


LIMIT = DebtLimit.UNVERIFIED_ADDRESS
DEAR, CHEAP = "+34612345678", "+447400123456"
"""For 0.25 and 0.04 US dollars."""
FLOORS: dict[str, Any] = {"floors": {"address_sends": (3, 4)}}


async def issue_to(shop: Installation, number: str, **more: Any) -> Any:
    return await shop.issue(number, client_ip="203.0.113.9", **more)


async def read_address(shop: Installation, tenant: str = "shop") -> tuple[float, float]:
    """Return how many messages of the address are unverified and verified, in a day."""
    for name, book in (await read_debts(shop)).items():
        if name.startswith(f"{LIMIT}:{tenant}:"):
            return book[2] / MESSAGE_UNITS, book[3] / MESSAGE_UNITS
    return 0, 0


@pytest.mark.parametrize("numbers", [(DEAR, CHEAP, CHEAP), (CHEAP, CHEAP, DEAR)])
async def test_an_address_admits_as_many_messages_to_any_countries_and_no_more(
    installation: Installation, numbers: tuple[str, ...]
) -> None:
    """On each kind of Redis. One dear message that is pending refused the first cheap one before."""
    shop = start_brake(installation, **FLOORS)
    for index, number in enumerate(numbers):
        await issue_to(shop, f"{number[:-1]}{index}")
    before = await read_books(shop)

    with pytest.raises(DebtLimited) as refusal:
        await issue_to(shop, CHEAP)

    assert (LIMIT, 3, 3600) == (
        refusal.value.limit,
        refusal.value.quota,
        refusal.value.period_seconds,
    )
    assert before == await read_books(shop)
    (denied,) = [e for e in await shop.read_events() if e["type"] == "otp.issue_denied"]
    assert (3 * MESSAGE_UNITS, 3 * MESSAGE_UNITS, PRICE) == tuple(
        denied[name] for name in ("unverified", "allowance", "price")
    )


async def test_tenants_that_share_an_address_have_a_budget_each(
    installation: Installation,
) -> None:
    """An attack on one of them refuses nobody of the other one."""
    shop = start_brake(installation, **FLOORS)
    for index in range(3):
        await issue_to(shop, f"{CHEAP[:-1]}{index}")
    with pytest.raises(DebtLimited):
        await issue_to(shop, DEAR)

    await issue_to(shop, DEAR, tenant="bank")

    assert ((3, 0), (1, 0)) == (await read_address(shop), await read_address(shop, "bank"))


async def test_an_address_is_repaid_what_its_message_was_charged(
    installation: Installation,
) -> None:
    """Half a message after a bot check, a whole one without, and nothing of one that failed."""
    shop = start_brake(installation, **FLOORS)
    halved = await issue_to(shop, DEAR, bot_check=BotCheck.PASSED)
    halved_code = shop.router.extract_code()
    whole = await issue_to(shop, CHEAP)
    whole_code = shop.router.extract_code()
    shop.router.queue_replies(PROVIDER_REFUSAL)
    with pytest.raises(DeliveryFailed):
        await issue_to(shop, "+33612345678")
    assert (1.5, 0) == await read_address(shop)

    await shop.verify(halved, halved_code)
    await drain(shop)
    assert (1, 0.5) == await read_address(shop)

    await shop.verify(whole, whole_code)
    await drain(shop)
    assert (0, 1.5) == await read_address(shop)


@pytest.mark.parametrize("verifies_first", [True, False])
async def test_a_code_from_before_a_rotation_frees_nothing_of_an_address(
    installation: Installation, *, verifies_first: bool
) -> None:
    """Its address begins empty under the new key, and the message of the code was never charged there."""
    shop = start_brake(installation, **FLOORS)
    issued = await issue_to(shop, DEAR)
    code = shop.router.extract_code()
    keys = installation.keys
    rings = {name: getattr(keys, name) for name in keys.__struct_fields__}
    new = KeyRing((Key("limit-2", b"2" * 32), keys.limit.current))

    rotated = start_brake(
        shop, BrakeMode.REFUSE, keys=ServiceKeys(**{**rings, "limit": new}), **FLOORS
    )
    if verifies_first:
        await rotated.verify(issued, code)
        await drain(rotated)
    for index in range(3):
        await issue_to(rotated, f"{CHEAP[:-1]}{index}")
    if not verifies_first:
        await rotated.verify(issued, code)
    await drain(rotated)

    with pytest.raises(DebtLimited) as refusal:
        await issue_to(rotated, DEAR[:-1] + "9")
    assert 3 * MESSAGE_UNITS == refusal.value.unverified
