"""Reading totals and debts that the commit script has written."""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.events import EpochStarted
from otp_service.core.keys import Key, KeyRing
from otp_service.core.pumping.commits import TrafficName
from otp_service.core.pumping.debt import EMPTY_DEBT, charge_debt
from otp_service.core.pumping.outages import EVIDENCE_SLOT_MS, ExemptCounts
from otp_service.core.pumping.usual_traffic import HourTotals
from otp_service.core.timestamps import HOUR_MS
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.rotating_store import RotatingStore
from otp_service.store.traffic_totals import TrafficTotals, decode_debt, parse_fields
from tests.installation import generate_keys


NOW = 1_763_814_000_123
HOUR, SLOT = NOW // HOUR_MS, NOW // EVIDENCE_SLOT_MS


@given(st.dictionaries(st.binary(max_size=12), st.binary(max_size=22)))
def test_fields_that_anything_could_have_written_are_totals_or_malformed(
    fields: dict[bytes, bytes],
) -> None:
    parsed = parse_fields(fields.items())

    names = {b"%d:%b" % (number, kind.encode()) for number, kind in parsed.amounts}
    assert len(fields) == len(parsed.amounts) + len(parsed.malformed)
    assert set(parsed.malformed).isdisjoint(names)
    assert 336 == len(parsed.build_hours(HOUR))


@pytest.mark.parametrize(
    "name", [b"", b"u", b":u", b"1:", b"1:x", b"1:uu", b"-1:u", b"1:u ", b"9999999999:u", b"01:u"]
)
def test_a_name_of_another_form_is_malformed(name: bytes) -> None:
    assert (name,) == parse_fields([(name, b"1")]).malformed


@pytest.mark.parametrize("amount", [b"", b"1e3", b"1.5", b" 1", b"1234567890123456789"])
def test_an_amount_of_another_form_is_malformed(amount: bytes) -> None:
    assert (b"1:u",) == parse_fields([(b"1:u", amount)]).malformed


def test_a_repayment_that_exceeds_its_hour_leaves_nothing_less_than_zero() -> None:
    fields = parse_fields([(b"%d:u" % (HOUR - 1), b"-5"), (b"%d:v" % (HOUR - 1), b"7")])

    assert HourTotals(7) == fields.build_hours(HOUR)[-1]


def test_what_no_process_could_have_written_is_an_empty_debt() -> None:
    bucket = charge_debt(EMPTY_DEBT, 75_000, NOW)
    values = [part for w in bucket.windows for part in (w.newest_slot, *w.unverified, *w.verified)]
    stored = msgspec.msgpack.encode(values)

    assert bucket == decode_debt(stored)
    for broken in (None, b"", b"\xc1", stored[:-1], msgspec.msgpack.encode(values[:-1])):
        assert EMPTY_DEBT == decode_debt(broken)
    for value in (float("nan"), float("inf")):
        assert EMPTY_DEBT == decode_debt(msgspec.msgpack.encode([*values[:-1], value]))


async def test_totals_under_both_limit_keys_count_during_a_rotation(
    one_server_client: ScriptClient,
) -> None:
    """Otherwise each country would have its floors alone for two weeks."""
    keys = generate_keys()
    ring = KeyRing((Key("new", os.urandom(32)), *keys.limit))
    names, earlier = map(KeyNames, ring)
    store = RotatingStore(
        one_server_client,
        names,
        RecordCipher(msgspec.structs.replace(keys, limit=ring), os.urandom),
        epoch_event=EpochStarted(id="epoch"),
        earlier_key_names=[earlier],
    )
    for each, country, amount in ((names, "DE", 3), (earlier, "DE", 4), (earlier, "FR", 5)):
        partition = each.compute_shared_partition()
        key = each.traffic_key(partition, TrafficName("shop", country))
        index = each.traffic_index_key(partition)
        fields = (f"{HOUR - 1}:u", amount, f"{SLOT}:e", amount, f"{HOUR - 999}:u", 1)
        await one_server_client.repeat_commands(key, [("HSET", key, *fields)])
        await one_server_client.repeat_commands(index, [("SADD", index, f"shop {country}")])
    totals = TrafficTotals(store)

    scopes = await totals.list_scopes()
    found, recent = await totals.read_all(scopes), await totals.read_recent(scopes, NOW)
    await totals.delete_old(found, NOW)

    assert ["shop DE", "shop FR"] == scopes
    assert [7, 5] == [found[scope].build_hours(HOUR)[-1].unverified for scope in scopes]
    assert {SLOT: ExemptCounts(7)} == recent["shop DE"].slots
    kept = await totals.read_all(scopes)
    assert [{(HOUR - 1, "u"), (SLOT, "e")}] * 2 == [set(kept[scope].amounts) for scope in scopes]
