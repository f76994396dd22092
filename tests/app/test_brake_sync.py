"""What is learned reaches each process through a real Redis, and is computed by one of them."""

import asyncio
import logging
import secrets
from typing import Any, Literal

import msgspec
import pytest

from otp_service.app.brake_sync import LEARN_INTERVAL_MS, MAX_DELAY_MS
from otp_service.core.errors import StoreUnavailable
from otp_service.core.pumping.learned_traffic import LearnedTraffic
from otp_service.core.pumping.outages import EVIDENCE_SLOT_MS, SETTLE_MS
from otp_service.core.pumping.overrides import Overrides, ScopeOverride
from otp_service.core.pumping.scopes import DebtLimit
from otp_service.core.pumping.send_debts import Measure
from otp_service.core.pumping.usual_traffic import HourTotals, learn_figures, learn_volume_figures
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS
from otp_service.service.brake import PlannedSend
from otp_service.store.client import ScriptClient
from tests.app.brake_process import PRICE, BrakeProcess, SharedStore, build_phone


@pytest.fixture
def store(one_server_client: ScriptClient) -> SharedStore:
    return SharedStore(one_server_client)


async def test_figures_are_those_of_the_totals_that_commits_write(
    script_client: ScriptClient,
) -> None:
    store = SharedStore(script_client)
    process = BrakeProcess(store)
    await store.write_history(verified=10, unverified=4, days=13)
    debts = [await process.send(index) for index in range(8)]
    for index, debt in enumerate(debts[:5]):
        assert debt
        await process.verify(index, debt)
    store.now += HOUR_MS

    await process.sync.sync()

    usual = HourTotals(10 * PRICE, 4 * PRICE)
    hours = [*[HourTotals()] * 23, *[usual] * 24 * 13, HourTotals(5 * PRICE, 3 * PRICE)]
    learned = process.brake.learned.get("shop", "DE")
    assert learn_figures(hours, PRICE) == learned.unverified
    assert learn_volume_figures(hours) == learned.volume
    assert (3 * PRICE, 3 * PRICE) == learned.debt


async def test_a_process_knows_two_weeks_of_traffic_before_its_first_issue(
    store: SharedStore,
) -> None:
    """The floor of an hour is 26 messages to Germany; 40 unverified ones are usual here."""
    await store.write_history(verified=100, unverified=40)
    fresh, started = BrakeProcess(store), BrakeProcess(store)

    await started.sync.load()

    assert started.sync.has_loaded
    assert not fresh.sync.has_loaded
    assert all([await started.send(index) for index in range(40)])
    assert await fresh.send(40) is None


async def test_a_process_that_starts_later_computes_nothing_again(store: SharedStore) -> None:
    await store.write_history(verified=100, unverified=40)
    first, second = BrakeProcess(store), BrakeProcess(store)

    await first.sync.load()
    await second.sync.load()

    assert first.brake.learned == second.brake.learned
    assert 1 == await store.read_version()
    store.now += HOUR_MS
    await BrakeProcess(store).sync.load()
    assert 2 == await store.read_version()


async def test_one_of_many_processes_writes_and_all_know_the_same(store: SharedStore) -> None:
    await store.write_history(verified=100, unverified=40)
    await store.write_fields({f"{store.now // HOUR_MS}:r": 1})
    processes = [BrakeProcess(store) for _ in range(5)]

    await asyncio.gather(*(process.sync.sync() for process in processes))

    assert 1 == await store.read_version()
    assert processes[0].brake.learned.get("shop", "DE").has_refusals
    assert all(each.brake.learned == processes[0].brake.learned for each in processes)
    assert ["over"] == await list_states(store)


async def list_events(store: SharedStore, kind: str) -> list[dict[str, Any]]:
    """Return the events of the shared records of one type, the oldest first."""
    names = store.key_names.event_log_keys(0)[1:3]
    found = [
        await store.client.repeat_commands(name, [("XRANGE", name, "-", "+")]) for name in names
    ]
    events = [
        msgspec.json.decode(dict(zip(fields[::2], fields[1::2], strict=True))[b"event"])
        for (entries,) in found
        for _, fields in entries
    ]
    return [event for event in events if event["type"] == kind]


async def list_states(store: SharedStore) -> list[str]:
    return [event["state"] for event in await list_events(store, "brake.moved")]


async def test_a_country_that_has_room_again_is_an_event_too(store: SharedStore) -> None:
    process = BrakeProcess(store)
    await store.write_fields({f"{store.now // HOUR_MS}:r": 1})

    states = []
    for _ in range(3):
        await process.sync.sync()
        states.append(await list_states(store))
        store.now += HOUR_MS

    assert [["over"], ["over"], ["over", "normal"]] == states


@pytest.mark.parametrize("delay", [0.0, 1.0])
async def test_what_was_learned_is_computed_again_after_a_minute(
    store: SharedStore, delay: float
) -> None:
    """Each process waits a random part of ten seconds more, so that rarely two of them compute."""
    process = BrakeProcess(store, delay=delay)
    await process.sync.sync()
    due = store.now + LEARN_INTERVAL_MS + round(delay * MAX_DELAY_MS)

    store.now = due - 1
    await process.sync.sync()
    assert 1 == await store.read_version()
    store.now = due
    await process.sync.sync()

    assert 2 == await store.read_version()
    assert due == process.brake.learned.computed_at


async def test_figures_change_with_the_hour_alone(store: SharedStore) -> None:
    process = BrakeProcess(store)
    await store.write_history(verified=100, unverified=40)
    await process.sync.sync()
    before = process.brake.learned.get("shop", "DE").unverified
    await store.write_history(verified=100, unverified=90)

    store.now += MINUTE_MS
    await process.sync.sync()
    assert before == process.brake.learned.get("shop", "DE").unverified
    store.now += HOUR_MS
    await process.sync.sync()

    assert (
        before.unverified_share
        < process.brake.learned.get("shop", "DE").unverified.unverified_share
    )


async def test_a_clock_that_is_set_back_is_followed(
    store: SharedStore,
) -> None:
    """Otherwise nothing would be learned until the clock is there again. The figures are of its hours."""
    process = BrakeProcess(store)
    await store.write_history(verified=100, unverified=40, days=20)
    await store.write_fields({f"{store.now // HOUR_MS - 5 - 7 * 24}:v": 10_000 * PRICE})
    await process.sync.sync()
    before = process.brake.learned.get("shop", "DE")

    store.now -= 5 * HOUR_MS
    await process.sync.sync()

    assert store.now == process.brake.learned.computed_at
    assert store.now // HOUR_MS == process.brake.learned.hour
    after = process.brake.learned.get("shop", "DE")
    assert before.unverified.usual_verified[0] < after.unverified.usual_verified[0]


async def test_a_country_is_strained_within_the_minute_and_not_in_an_outage(
    store: SharedStore,
) -> None:
    """R29: every provider of the country fails, so that what is unverified is debt of honest people."""
    process = BrakeProcess(store, breakers=[0])
    debts = [await process.send(index) for index in range(21)]
    await process.sync.sync()
    assert process.brake.learned.get("shop", "DE").is_strained

    store.now += MINUTE_MS
    process.breakers = [store.now + 1, store.now + 1]
    await process.sync.sync()

    assert all(debts)
    assert not process.brake.learned.get("shop", "DE").is_strained
    assert Measure.VOLUME == plan_measure(process, "shop")
    assert Measure.VOLUME == plan_measure(process, "bank")


def plan_measure(process: BrakeProcess, tenant: str) -> Measure:
    """Return how a send to an unknown number would count."""
    plan = process.brake.plan_send(PlannedSend(tenant=tenant, phone=build_phone(999)))
    assert plan
    return plan.measure


async def test_known_numbers_that_get_no_code_show_an_outage_of_their_tenant(
    store: SharedStore,
) -> None:
    """The provider takes each message and delivers none. Unknown numbers are not refused then."""
    process = BrakeProcess(store)
    store.now = store.now // EVIDENCE_SLOT_MS * EVIDENCE_SLOT_MS
    await store.write_usual_logins(sent=9, verified=7)
    for index in range(20):
        await process.verify(index)
    await process.sync.sync()
    assert Measure.UNVERIFIED == plan_measure(process, "shop")

    assert all([await process.send(index) for index in range(20)])
    store.now += EVIDENCE_SLOT_MS + SETTLE_MS
    await process.sync.sync()

    assert Measure.VOLUME == plan_measure(process, "shop")
    assert Measure.UNVERIFIED == plan_measure(process, "bank")
    for index in range(10):
        await process.verify(index)
    store.now += MINUTE_MS
    await process.sync.sync()
    assert Measure.UNVERIFIED == plan_measure(process, "shop")


@pytest.mark.parametrize("clock_error_ms", [0, 2 * HOUR_MS, -2 * HOUR_MS])
async def test_a_process_reads_what_operators_have_closed(
    store: SharedStore, clock_error_ms: int
) -> None:
    """Until the instant that they chose, by the clock of Redis."""
    process = BrakeProcess(store, clock_error_ms=clock_error_ms)
    until = store.now + HOUR_MS
    closed = ScopeOverride(
        DebtLimit.UNVERIFIED_COUNTRY, "shop", "DE", "closed", until, "attack", "ada", store.now
    )
    assert await process.send(1)

    body = msgspec.msgpack.encode(Overrides((closed,)))
    await store.swap_shared_record("brake-overrides", 0, body, (), secrets.token_hex(8))
    await process.sync.sync()

    assert await process.send(2) is None
    assert await process.send(2, "bank")
    store.now = until - 1
    assert await process.send(2) is None
    store.now = until
    assert await process.send(2)


@pytest.mark.parametrize(("forged", "next_version"), [(b"00000009forged", 10), (b"\xfforged", 1)])
async def test_a_forged_record_changes_nothing_and_is_replaced(
    store: SharedStore, caplog: pytest.LogCaptureFixture, forged: bytes, next_version: int
) -> None:
    """An attacker that can write to Redis cannot raise an allowance for long."""
    process = BrakeProcess(store)
    await store.write_history(verified=100, unverified=40)
    await process.sync.sync()
    before = process.brake.learned
    _, key = store.key_names.locate_shared_record("brake")
    await store.client.repeat_commands(key, [("SET", key, forged)])

    for _ in range(3):
        store.now += 1
        await process.sync.sync()
    assert before == process.brake.learned
    assert 1 == caplog.text.count("cannot be opened")
    store.now += MINUTE_MS
    await process.sync.sync()

    assert store.now == process.brake.learned.computed_at
    assert next_version == await store.read_version()


@pytest.mark.parametrize("name", ["brake", "brake-overrides"])
@pytest.mark.parametrize("is_running", [True, False])
async def test_a_process_that_reads_a_forged_record_records_it_once(
    store: SharedStore, name: Literal["brake", "brake-overrides"], *, is_running: bool
) -> None:
    """Also one that starts with it: only the event says that scopes are no longer open or closed."""
    process = BrakeProcess(store)
    if is_running:
        await process.sync.load()
    _, key = store.key_names.locate_shared_record(name)
    await store.client.repeat_commands(key, [("SET", key, b"00000009forged")])

    await process.sync.load()
    for _ in range(3):
        await process.sync.sync()

    assert [key] == [event["record"] for event in await list_events(store, "store.tampered")]


async def test_a_record_that_is_gone_is_computed_at_once(store: SharedStore) -> None:
    process = BrakeProcess(store)
    await store.write_history(verified=100, unverified=40)
    await process.sync.sync()
    figures = process.brake.learned.get("shop", "DE").unverified
    _, key = store.key_names.locate_shared_record("brake")
    await store.client.repeat_commands(key, [("DEL", key)])

    await process.sync.sync()

    assert figures == process.brake.learned.get("shop", "DE").unverified
    assert 1 == await store.read_version()


async def test_without_redis_a_process_keeps_what_it_knows(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = BrakeProcess(store)
    await store.write_history(verified=100, unverified=40)
    await process.sync.sync()
    before = process.brake.learned

    async def fail(_keys: tuple[str, ...]) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(store, "read_values", fail)
    with pytest.raises(StoreUnavailable):
        await process.sync.sync()

    assert before == process.brake.learned != LearnedTraffic()


async def test_what_is_too_old_is_deleted_and_what_is_malformed_is_logged_three_times(
    store: SharedStore, caplog: pytest.LogCaptureFixture
) -> None:
    process = BrakeProcess(store)
    caplog.set_level(logging.WARNING)
    hour, slot = store.now // HOUR_MS, store.now // EVIDENCE_SLOT_MS
    kept = {f"{hour - 15 * 24}:u": 1, f"{slot - 27 * 6}:e": 1, f"{hour}:v": 1}
    old = {f"{hour - 15 * 24 - 1}:v": 1, f"{slot - 27 * 6 - 1}:p": 1}
    await store.write_fields({**kept, **old, f"{hour}:x": 1, "": 1, f"{hour - 1}:u": "1e3"})
    await store.write_fields({f"{hour - 999}:u": 1}, tenant="bank")

    await process.sync.sync()
    assert set(kept) == await store.list_fields()
    for _ in range(4):
        store.now += HOUR_MS
        await store.write_fields({f"{hour - 1}:u": "many"})
        await process.sync.sync()

    assert {f"{hour}:v"} == await store.list_fields()
    assert ["shop DE"] == [*process.brake.learned.scopes]
    assert 3 == caplog.text.count("of another form")
