"""Numbers that have verified, while the limit key is rotated (issue 15)."""

import secrets
from typing import Any

import pytest

from otp_service.core.commit import Commit, Committed, OverDebt
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtRefund,
    DebtSettlement,
    KnownNumberName,
)
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.known_number import MAX_DAILY_EXEMPT_SENDS
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import DAY_MS
from otp_service.store.client import ScriptClient
from otp_service.store.known_numbers import parse_known_number
from otp_service.store.limit_key_contents import ContentKind, LimitKeyScan
from tests.installation import Installation
from tests.store.test_limit_key_move import Rotation


NUMBER = "+447400123456"
KNOWN = KnownNumberName("shop", NUMBER)
PRICE = 40_000


@pytest.fixture
def rotation(one_server_client: ScriptClient) -> Rotation:
    return Rotation(Installation(one_server_client))


def build_debts(room: int = 9) -> DebtCommit:
    bucket = ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject=NUMBER[:-4])
    charge = DebtCharge(bucket, Terms((room * PRICE, room * PRICE)), PRICE)
    return DebtCommit(charges=(charge,), known_number=KNOWN)


async def commit(world: Installation, **fields: Any) -> Any:
    partition = world.store.get_number_partition(NUMBER)
    fields = {"operation_id": secrets.token_hex(8)} | fields
    return await world.store.commit(Commit(partition=partition, **fields))


async def verify(world: Installation) -> Committed:
    settlement = DebtSettlement(known_number=KNOWN)
    outcome = await commit(world, settlement=settlement)
    assert isinstance(outcome, Committed)
    return outcome


async def send(world: Installation) -> bool:
    """Return whether a send was exempt."""
    outcome = await commit(world, debts=build_debts())
    assert isinstance(outcome, Committed)
    return outcome.debts.is_exempt


async def count_unpaid(world: Installation) -> list[int]:
    """Return the exempt sends of each record of the number."""
    keys = [key.decode() for key in await world.list_keys("*:known:*")]
    values = await world.store.client.read_each(keys, "GET")
    return [len(parse_known_number(value).content.unpaid_at) for value in values]


async def test_a_known_number_is_exempt_under_either_key_as_often_as_under_one(
    rotation: Rotation,
) -> None:
    """Workers on both sides of the rotation send, and note it in one record."""
    await verify(rotation.before)

    workers = [rotation.used, rotation.spread] * MAX_DAILY_EXEMPT_SENDS
    exempt = [await send(worker) for worker in workers]

    assert [True] * MAX_DAILY_EXEMPT_SENDS == exempt[:MAX_DAILY_EXEMPT_SENDS]
    assert not any(exempt[MAX_DAILY_EXEMPT_SENDS:])
    assert [MAX_DAILY_EXEMPT_SENDS] == await count_unpaid(rotation.used)


async def test_the_latest_verification_decides_under_either_key(rotation: Rotation) -> None:
    """A verification under the new key pays for the sends that are noted under the old one."""
    await verify(rotation.before)
    for _ in range(MAX_DAILY_EXEMPT_SENDS + 1):
        await send(rotation.before)
    rotation.advance_clock(DAY_MS // 2)

    paid = await verify(rotation.used)

    assert paid.pays_exempt_sends
    assert not paid.raises_allowance
    assert [True] * 2 == [await send(worker) for worker in (rotation.spread, rotation.used)]


async def test_an_exempt_send_that_is_refunded_is_not_noted_elsewhere(rotation: Rotation) -> None:
    await verify(rotation.before)
    await commit(rotation.used, operation_id="send", debts=build_debts())
    assert [1] == await count_unpaid(rotation.used)

    refund = DebtRefund(build_debts(), "send")
    for _ in range(2):
        await commit(rotation.used, debt_refunds=(refund,))

    assert [0] == await count_unpaid(rotation.used)


async def test_a_refused_send_is_not_noted_elsewhere(rotation: Rotation) -> None:
    """The budget of the day refuses exempt sends as well."""
    await verify(rotation.before)
    overall = DebtCharge(
        ScopeBucket(DebtLimit.SPEND_OVERALL),
        Terms((0, 0)),
        PRICE,
        is_always_charged=True,
        closed_until=2**50,
    )
    debts = DebtCommit(charges=(overall,), known_number=KNOWN)

    outcome = await commit(rotation.used, debts=debts)

    assert isinstance(outcome, OverDebt)
    assert [0] == await count_unpaid(rotation.used)


async def test_an_inspection_finds_a_known_number_and_notes_nothing(rotation: Rotation) -> None:
    await verify(rotation.before)
    store = rotation.used.store

    inspected = Commit(
        partition=store.get_number_partition(NUMBER), operation_id="why", debts=build_debts()
    )
    (inspection,) = await store.inspect([inspected])

    assert inspection.is_exempt
    assert [0] == await count_unpaid(rotation.used)


async def test_known_numbers_are_counted_under_the_key_that_names_them(rotation: Rotation) -> None:
    """They cannot be moved: a record has no number. So the earlier key is kept for 90 days."""
    await verify(rotation.before)
    contents = await LimitKeyScan(rotation.used.store).count_all()
    old = rotation.before.keys.limit.current.id
    assert 1 == contents.elsewhere[old, ContentKind.KNOWN_NUMBER]
    assert not contents.is_settled

    await verify(rotation.used)

    contents = await LimitKeyScan(rotation.used.store).count_all()
    assert 1 == contents.in_place[ContentKind.KNOWN_NUMBER]


async def test_an_exempt_send_is_noted_in_the_latest_record_alone(rotation: Rotation) -> None:
    await verify(rotation.before)
    rotation.advance_clock(1000)
    await verify(rotation.used)

    assert await send(rotation.spread)

    assert [0, 1] == sorted(await count_unpaid(rotation.used))
