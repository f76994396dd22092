"""The two commits of a send that charge debts: one script, or in a cluster a script for each."""

import secrets
from typing import Any

import msgspec
import pytest

from otp_service.core.commit import Commit, Committed, OverDebt, Undone
from otp_service.core.events import IssueDenied
from otp_service.core.limits import Bucket, Charge, Limit, LimitRefusal, Window
from otp_service.core.pumping import known_number
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtOutcome,
    DebtRefund,
    DebtSettlement,
    KnownNumberName,
    TrafficName,
)
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.known_number import ExemptTime
from otp_service.core.pumping.outages import EVIDENCE_SLOT_MS
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import DAY_MS, DAY_SECONDS, HOUR_MS, MINUTE_MS
from otp_service.store.client import ScriptClient
from tests.store.frozen_store import NOW, PARTITION, FrozenStore


SHARED = 9
PRICE = 40_000
KNOWN = KnownNumberName("shop", "+447400123456")
RANGE, COUNTRY, OVERALL = (
    ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject="+44740012"),
    ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB"),
    ScopeBucket(DebtLimit.SPEND_OVERALL),
)


EXEMPT = DebtOutcome(
    is_exempt=True, exempt_time=ExemptTime(0, NOW + known_number.KNOWN_NUMBER_TTL_MS)
)


@pytest.fixture(params=[False, True], ids=["script", "one-by-one"])
def store(
    one_server_client: ScriptClient, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> FrozenStore:
    monkeypatch.setattr(ScriptClient, "is_cluster", request.param)
    return FrozenStore(one_server_client)


def charge(bucket: ScopeBucket, sends: int = 9, **fields: Any) -> DebtCharge:
    """Return the charge of a scope with room for so many sends."""
    return DebtCharge(bucket, Terms((sends * PRICE, sends * PRICE)), PRICE, **fields)


def build_send(*, refuses: bool = True, range_sends: int = 9, **fields: Any) -> list[Commit]:
    """Return the commits of a send: to its number, and to what all share."""
    number = DebtCommit(charges=(charge(RANGE, range_sends, refuses=refuses),), known_number=KNOWN)
    open_until = fields.pop("open_until", 0)
    country = charge(
        COUNTRY, fields.pop("country_sends", 9), refuses=refuses, open_until=open_until
    )
    overall = charge(OVERALL, fields.pop("overall_sends", 9), is_always_charged=True)
    traffic = TrafficName("shop", "GB")
    shared = DebtCommit(charges=(country, overall), traffic=traffic)
    return [
        Commit(partition=PARTITION, operation_id=secrets.token_hex(8), debts=number),
        Commit(partition=SHARED, operation_id=secrets.token_hex(8), debts=shared, **fields),
    ]


async def read_unverified(store: FrozenStore) -> list[int]:
    """Return what is unverified today in the range, the country and overall."""
    names = store.key_names
    keys = [names.debt_key(PARTITION, RANGE)]
    keys += [names.debt_key(SHARED, bucket) for bucket in (COUNTRY, OVERALL)]
    values = await store.client.read_each(keys, "GET")
    return [sum(msgspec.msgpack.decode(value)[16:23]) if value else 0 for value in values]


async def read_traffic(store: FrozenStore) -> dict[str, int]:
    """Return the totals of the hour and of the ten minutes of NOW."""
    key = store.key_names.traffic_key(SHARED, TrafficName("shop", "GB"))
    (flat,) = await store.client.run_pipeline(key, [("HGETALL", key)])
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {strip_span(name.decode()): int(one) for name, one in pairs}


def strip_span(field: str) -> str:
    """Return the kind of a total of the hour, or of a count of the ten minutes, of NOW."""
    span, _, kind = field.partition(":")
    assert NOW // (EVIDENCE_SLOT_MS if kind in "ep" else HOUR_MS) == int(span)
    return kind


async def test_an_unknown_number_is_charged_in_each_scope(store: FrozenStore) -> None:
    outcomes = await store.commit_together(build_send())

    assert [Committed(NOW)] * 2 == outcomes
    assert [PRICE] * 3 == await read_unverified(store)
    assert {"u": PRICE} == await read_traffic(store)


async def test_a_known_number_is_charged_nothing_but_the_budget_of_the_day(
    store: FrozenStore,
) -> None:
    await store.decide(settlement=DebtSettlement(known_number=KNOWN))

    outcomes = await store.commit_together(build_send())

    assert [Committed(NOW, debts=EXEMPT)] * 2 == outcomes
    assert [0, 0, PRICE] == await read_unverified(store)
    assert {"e": 1} == await read_traffic(store)


async def test_a_range_that_only_records_leaves_the_country_uncharged(store: FrozenStore) -> None:
    for _ in range(2):
        number, shared = await store.commit_together(build_send(refuses=False, range_sends=1))

    assert isinstance(number, Committed)
    assert number.debts.over is not None
    assert RANGE == number.debts.over.bucket
    assert Committed(NOW, debts=DebtOutcome(is_uncharged=True)) == shared
    assert [PRICE, PRICE, 2 * PRICE] == await read_unverified(store)
    assert {"u": PRICE} == await read_traffic(store)


async def test_a_call_that_is_repeated_knows_that_its_first_commit_was_exempt(
    store: FrozenStore,
) -> None:
    """The reply was lost after the first commit, which then only returns it."""
    await store.decide(settlement=DebtSettlement(known_number=KNOWN))
    commits = build_send()
    await store.commit(commits[0])

    _, shared = await store.commit_together(commits)

    assert Committed(NOW, debts=EXEMPT) == shared
    assert [0, 0, PRICE] == await read_unverified(store)


async def test_commits_of_different_sends_do_not_exempt_each_other(store: FrozenStore) -> None:
    await store.decide(settlement=DebtSettlement(known_number=KNOWN))
    (exempt, _), (_, other) = build_send(), build_send()

    await store.commit_all([exempt, other])

    assert [0, PRICE, PRICE] == await read_unverified(store)


async def test_a_refused_country_charges_the_range_for_no_moment(store: FrozenStore) -> None:
    """R29: before any refund. The refund of the range, which is sent in any case, takes nothing back."""
    await store.commit_together(build_send(country_sends=1))
    commits = build_send(country_sends=1)

    outcomes = await store.commit_together(commits)

    assert [Undone, OverDebt] == list(map(type, outcomes))
    assert [PRICE] * 3 == await read_unverified(store)
    debts, operation_id = commits[0].debts, commits[0].operation_id
    assert debts is not None
    await store.decide(debt_refunds=(DebtRefund(debts, operation_id),))
    assert [PRICE] * 3 == await read_unverified(store)
    assert {"u": PRICE, "r": 1} == await read_traffic(store)


async def test_a_refused_range_charges_the_country_for_no_moment(store: FrozenStore) -> None:
    await store.commit_together(build_send(range_sends=1))

    outcomes = await store.commit_together(build_send(range_sends=1))

    assert [OverDebt, Undone] == list(map(type, outcomes))
    assert [PRICE] * 3 == await read_unverified(store)


async def test_a_call_that_was_refused_is_decided_again_after_a_refund(store: FrozenStore) -> None:
    """Its first commit was not applied, so it has no reply that would be repeated."""
    first, second = build_send(country_sends=1), build_send(country_sends=1)
    await store.commit_together(first)
    await store.commit_together(second)
    (country,) = [one.debts for one in first if one.partition == SHARED]
    assert country is not None
    undo = DebtRefund(country, first[1].operation_id)
    await store.commit(Commit(partition=SHARED, operation_id="undo", debt_refunds=(undo,)))

    renamed = msgspec.structs.replace(second[1], operation_id="another call")
    outcomes = await store.commit_together([second[0], renamed])

    assert [Committed(NOW)] * 2 == outcomes
    assert [2 * PRICE, PRICE, PRICE] == await read_unverified(store)


async def test_an_inspection_shows_each_scope_and_changes_nothing(store: FrozenStore) -> None:
    """Whether or not it is charged; the wait is that of the scope alone."""
    sends = [build_send(country_sends=1, overall_sends=3) for _ in range(2)]
    await store.commit_together(sends[0])

    number, shared = await store.inspect(sends[1])

    assert (None, False) == (number.refusal, number.is_exempt)
    assert isinstance(shared.refusal, OverDebt)
    assert shared.refusal == (await store.commit_together(sends[1]))[-1]
    country, overall = shared.debts
    assert (True, shared.refusal.wait_ms) == (country.is_full, country.wait_ms)
    assert (False, 0) == (overall.is_full, overall.wait_ms)
    assert ((PRICE, PRICE), (PRICE, PRICE)) == (country.unverified, country.allowance)
    assert ((PRICE, PRICE), (3 * PRICE, 3 * PRICE)) == (overall.unverified, overall.allowance)
    await store.decide(settlement=DebtSettlement(known_number=KNOWN))
    assert (await store.inspect(sends[1]))[0].is_exempt


async def test_the_longer_wait_is_reported(store: FrozenStore) -> None:
    """A limit and a scope refuse: a caller that waits for one of them is refused by the other."""
    await store.commit_together(build_send(country_sends=1))
    outcomes = []
    for window in (Window(1, 60), Window(1, 2 * DAY_SECONDS)):
        limit = Charge(Bucket(Limit.SENDS_OVERALL, subject=str(window)), (window,))
        await store.commit(Commit(partition=SHARED, operation_id=str(window), charges=(limit,)))
        commits = build_send(country_sends=1, charges=(limit,))
        outcomes.append((await store.commit_together(commits))[-1])

    assert [OverDebt, LimitRefusal] == list(map(type, outcomes))


async def check_wait(store: FrozenStore, wait_ms: int, **fields: Any) -> None:
    """Check that the same send is refused until the wait is over, and admitted then."""
    store.now += wait_ms - 1
    refused = await store.commit_together(build_send(**fields))
    store.now += 1
    admitted = await store.commit_together(build_send(**fields))

    assert [False, True] == [isinstance(one[-1], Committed) for one in (refused, admitted)]


async def test_a_country_refuses_until_the_number_is_exempt_again(store: FrozenStore) -> None:
    """The first commit knows when, and the second one refuses: in one script, or by its outcome."""
    await store.decide(settlement=DebtSettlement(known_number=KNOWN))
    for _ in range(3):
        await store.commit_together(build_send())
    store.now += DAY_MS - 10 * MINUTE_MS
    await store.commit_together(build_send(country_sends=1))

    refusal = (await store.commit_together(build_send(country_sends=1)))[-1]

    assert isinstance(refusal, OverDebt)
    assert 10 * MINUTE_MS == refusal.wait_ms
    await check_wait(store, refusal.wait_ms, country_sends=1)


async def test_a_wait_for_a_limit_does_not_end_where_an_opening_has_ended(
    store: FrozenStore,
) -> None:
    """The country is open while the limit refuses, and full after that."""
    await store.commit_together(build_send(country_sends=1))
    limit = Charge(Bucket(Limit.SENDS_OVERALL, subject="opening"), (Window(1, 1800),))
    await store.commit(Commit(partition=SHARED, operation_id="limit", charges=(limit,)))
    send: dict[str, Any] = {
        "country_sends": 1,
        "charges": (limit,),
        "open_until": NOW + 20 * MINUTE_MS,
    }

    refusal = (await store.commit_together(build_send(**send)))[-1]

    assert isinstance(refusal, LimitRefusal)
    assert refusal.wait_ms > HOUR_MS
    await check_wait(store, refusal.wait_ms, **send)


async def test_the_event_of_a_refusal_has_its_figures(store: FrozenStore) -> None:
    await store.commit_together(build_send(country_sends=1))
    await store.commit_together(build_send(country_sends=1, event_if_refused=IssueDenied(id="no")))

    _, _, refusals, *_ = store.key_names.event_log_keys(SHARED)
    (entries,) = await store.client.run_pipeline(refusals, [("XRANGE", refusals, "-", "+")])
    stamp = msgspec.json.decode(entries[0][1][7])
    wait = stamp.pop("wait")
    assert {
        "reason": "rate_limited",
        "limit": "UnverifiedPerCountryAndTenant",
        "quota": 1,
        "period": 3600,
        "unverified": PRICE,
        "allowance": PRICE,
    } == stamp
    store.now += wait - 1
    assert isinstance((await store.commit_together(build_send(country_sends=1)))[-1], OverDebt)
    store.now += 1
    assert isinstance((await store.commit_together(build_send(country_sends=1)))[-1], Committed)
