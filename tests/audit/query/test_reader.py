"""Reading the log: newest first, page by page, whatever happens meanwhile."""

import asyncio
import contextlib
import itertools
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.audit.query.merged_scan import PageBudget
from otp_service.audit.query.read_pacer import EVENTS_PER_YIELD, REST_RATIO, ReadPacer
from otp_service.audit.query.reader import EventReader
from otp_service.audit.query.stream_scan import MAX_POSITION
from otp_service.core import events
from otp_service.core.commit import Commit
from otp_service.core.errors import InvalidRequest, NumberNotAllowed, RateLimited
from otp_service.core.keys import Key, KeyRing
from otp_service.core.log_entry import (
    Entry,
    StreamPosition,
)
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.timestamps import format_rfc3339
from otp_service.store.client import ScriptClient
from otp_service.store.event_streams import RedisEventStreams
from otp_service.store.number_admin import NumberAdmin
from tests.installation import Installation


PHONE, OTHER = parse_number("+447400123456"), parse_number("+447400123457")
RING = KeyRing((Key("1", bytes(32)),))


class Memory:
    """The port without Redis: it holds events and counts the reads."""

    def __init__(self) -> None:
        self.entries: dict[int, list[Entry]] = {partition: [] for partition in range(64)}
        self.asked: list[int] = []

    def tell(self, partition: int, at: int, /, **fields: object) -> None:
        """Append an event; its time may equal the previous one, but the sequence increases."""
        log = self.entries[partition]
        body = msgspec.json.encode({"type": "otp.issued", **fields})
        place = StreamPosition(max(at, log[-1].position.at if log else 0), len(log) + 1)
        log.append(
            Entry(partition=partition, position=place, epoch=1, event=body, mac="ok", stamp=b"")
        )

    async def fetch_newest(
        self, before: Mapping[int, StreamPosition], *, since: int, count: int
    ) -> dict[int, list[Entry]]:
        found = {
            partition: [
                entry
                for entry in reversed(self.entries[partition])
                if entry.position < position and entry.position.at >= since
            ][:count]
            for partition, position in before.items()
        }
        self.asked.append(sum(map(len, found.values())))
        return found


def reader_of(streams, **options) -> EventReader:
    return EventReader(
        streams,
        partitions_of=lambda number: {int(number[-2:]) % 64},
        ring=RING,
        verify_mac=lambda _, mac: mac == "ok",
        pacer=ReadPacer(rest_ratio=0),
        **options,
    )


async def all_pages(reader: EventReader, **filters) -> list[list[dict]]:
    """Every page, until there is no next."""
    pages, cursor = [], None
    while True:
        page, cursor = await reader.read_page(**filters, cursor=cursor)
        pages.append(page)
        if cursor is None:
            return pages


def places(found: list[dict]) -> list[tuple]:
    return [(e["at"], e["partition"], e["sequence"]) for e in found]


# ------------------------------------------------------------------------------------ the pages

logs = st.lists(st.tuples(st.integers(0, 63), st.integers(1, 50), st.sampled_from("ab")))


@given(logs, st.integers(1, 20), st.integers(1, 30))
def test_pages_hold_everything_once_and_newest_first(log, limit, scanned):
    """However short a page, and however few entries it may look at."""
    memory = Memory()
    for partition, at, tenant in sorted(log, key=lambda told: told[1]):
        memory.tell(partition, at, tenant=tenant)

    pages = asyncio.run(all_pages(reader_of(memory, budget=PageBudget(scanned)), limit=limit))

    told = [entry for entries in memory.entries.values() for entry in entries]
    expected = [(format_rfc3339(e.position.at), e.partition, e.position.sequence) for e in told]
    assert sorted(expected, reverse=True) == places(list(itertools.chain(*pages)))
    assert all(len(page) <= limit for page in pages)


@given(logs, logs, st.integers(1, 5))
def test_what_happens_meanwhile_moves_no_page(before, meanwhile, limit):
    """No event twice, none left out, and none that is newer than the first page."""
    memory = Memory()
    reader = reader_of(memory)
    for partition, _, _ in before:
        memory.tell(partition, 1)
    expected = sorted((1, p, n + 1) for p, log in memory.entries.items() for n in range(len(log)))
    arriving = iter(meanwhile)

    async def read() -> list[tuple]:
        found, cursor = await reader.read_page(limit=limit)
        while cursor:
            for partition, at, _ in itertools.islice(arriving, 2):
                memory.tell(partition, at)
            page, cursor = await reader.read_page(limit=limit, cursor=cursor)
            found += page
        return [(1, partition, sequence) for _, partition, sequence in places(found)]

    assert expected[::-1] == asyncio.run(read())


@given(logs, st.integers(0, 60), st.integers(0, 60))
def test_since_is_the_first_instant_and_until_the_first_after(log, since, until):
    """Half-open, so that the hours of a day share no event."""
    memory = Memory()
    for partition, at, _ in sorted(log, key=lambda told: told[1]):
        memory.tell(partition, at)

    pages = asyncio.run(all_pages(reader_of(memory), since=since, until=until, limit=7))

    found = [at for at, _, _ in places(list(itertools.chain(*pages)))]
    expected = sorted((at for _, at, _ in log if since <= at < until), reverse=True)
    assert [format_rfc3339(at) for at in expected] == found


def fill_memory(common: int) -> Memory:
    """Return a log with one event of the tenant `rare`, and newer ones of another tenant."""
    memory = Memory()
    memory.tell(5, 1, tenant="rare")
    for n in range(common):
        memory.tell(n % 64, 2 + n, tenant="common")
    return memory


async def test_a_page_searches_on_until_it_has_events():
    """A client need not ask for many empty pages; each part still reads only what it may."""
    pages = await all_pages(
        reader_of(fill_memory(10_000), budget=PageBudget(1000)), tenant="rare", limit=10
    )

    assert [1] == [len(page) for page in pages]


async def test_a_page_without_events_ends_after_some_seconds():
    """Its cursor continues from there, and nothing is left out."""
    reader = reader_of(fill_memory(10_000), budget=PageBudget(1000, seconds=0))

    pages = await all_pages(reader, tenant="rare", limit=10)

    assert 11 == len(pages)
    assert [0] * 10 + [1] == [len(page) for page in pages]


async def test_other_calls_run_while_a_page_is_read():
    """R65: a login waits for a hundred events at most, also while results are decoded."""
    turns, filters = 0, {"limit": 1000}
    reader = reader_of(fill_memory(2000))

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_turns())
    page, _ = await reader.read_page(**filters)
    other.cancel()

    assert 1000 == len(page)
    assert turns >= 2 * 1000 / EVENTS_PER_YIELD


async def test_searches_take_turns_and_leave_most_of_the_time_to_others():
    """R65: whatever number of keys search at once, they read for a third of the time."""
    pacer, running, busy = ReadPacer(), 0, 0.0
    loop = asyncio.get_running_loop()
    started_at = loop.time()

    async def read() -> None:
        nonlocal running, busy
        for _ in range(3):
            async with pacer.take_turn():
                began, running = loop.time(), running + 1
                assert 1 == running
                await asyncio.sleep(0.01)
                running -= 1
                busy += loop.time() - began

    await asyncio.gather(read(), read(), read())
    rest = max(0.0, pacer._rests_until - loop.time())

    assert busy / (loop.time() - started_at + rest) <= 1 / (1 + REST_RATIO) + 0.02


async def test_a_page_costs_few_round_trips():
    """Of even partitions, and also where one holds everything."""
    even, uneven = Memory(), Memory()
    for n in range(5000):
        even.tell(n * 7 % 64, n)
        uneven.tell(63, n)

    for memory, trips in ((even, 2), (uneven, 6)):
        await reader_of(memory).read_page(limit=100)
        assert len(memory.asked) <= trips
        assert sum(memory.asked) <= 1000


# ---------------------------------------------------------------------------------- the filters


async def test_a_number_or_a_challenge_is_looked_for_where_it_lives():
    """One partition is asked, not sixty-four."""
    memory = Memory()
    for partition in range(64):
        memory.tell(
            partition, 1, number=pseudonym_of(PHONE), challenge=f"c{partition:02d}-{'0' * 32}"
        )
    reader = reader_of(memory)

    by_number, _ = await reader.read_page(number=PHONE)
    by_challenge, _ = await reader.read_page(challenge=f"c09-{'0' * 32}")

    assert [56] == [event["partition"] for event in by_number]
    assert [9] == [event["partition"] for event in by_challenge]
    assert [1, 1] == memory.asked


@pytest.mark.parametrize(
    "challenge", ["", "c64-" + "0" * 32, "c07-" + "0" * 31, "{07}:log", "c07-" + "0" * 32 + "\n"]
)
async def test_what_is_no_id_has_no_events(challenge):
    """It is never used in a Redis key."""
    memory = Memory()
    memory.tell(7, 1)

    assert ([], None) == await reader_of(memory).read_page(challenge=challenge)
    assert [] == memory.asked


async def test_a_number_and_a_challenge_of_another_have_no_events():
    """They belong to different partitions."""
    found = await reader_of(Memory()).read_page(number=PHONE, challenge=f"c09-{'0' * 32}")

    assert ([], None) == found


async def test_a_number_is_found_under_every_key_that_named_it():
    """Events outlive a rotation of the pseudonyms; after it, both names are the number's."""
    memory = Memory()
    older, newer = RING.current, Key("2", bytes(range(32)))
    for n, key in enumerate((older, newer)):
        memory.tell(56, n, number=pseudonym_of(PHONE, key))
    memory.tell(56, 3, number=pseudonym_of(parse_number("+447400123356")))
    reader = EventReader(
        memory,
        partitions_of=lambda _: {56},
        ring=KeyRing((newer, older)),
        verify_mac=lambda *_: True,
    )

    found, _ = await reader.read_page(number=PHONE)

    assert [2, 1] == [event["sequence"] for event in found]


def pseudonym_of(phone: PhoneNumber, key: Key = RING.current) -> str:
    return key.derive_pseudonym("number", phone.canonical)


async def test_an_account_is_found_in_every_partition_under_every_key_that_named_it():
    """Its events are with the numbers that it was used with, and those of its authenticators."""
    memory = Memory()
    older, newer = RING.current, Key("2", bytes(range(32)))
    memory.tell(3, 1, account=older.derive_pseudonym("account", "u-81"))
    memory.tell(60, 2, account=newer.derive_pseudonym("account", "u-81"))
    memory.tell(4, 3, account=newer.derive_pseudonym("account", "u-8"))
    memory.tell(5, 4, number=newer.derive_pseudonym("account", "u-81"))
    memory.tell(6, 5)
    reader = EventReader(
        memory,
        partitions_of=lambda _: {56},
        ring=KeyRing((newer, older)),
        verify_mac=lambda *_: True,
    )

    found, _ = await reader.read_page(account="u-81")

    assert [60, 3] == [event["partition"] for event in found]


async def test_a_number_and_an_account_have_to_match_both():
    """An event of the number at another account is not found, nor one of the account alone."""
    memory = Memory()
    account = RING.current.derive_pseudonym("account", "u-81")
    memory.tell(56, 1, number=pseudonym_of(PHONE), account=account)
    memory.tell(56, 2, number=pseudonym_of(PHONE))
    memory.tell(56, 3, account=account)

    found, _ = await reader_of(memory).read_page(number=PHONE, account="u-81")

    assert [1] == [event["sequence"] for event in found]


async def test_filters_are_all_to_agree():
    """Tenant and type, and what an event does not say agrees with nothing."""
    memory = Memory()
    memory.tell(1, 1, tenant="shop")
    memory.tell(2, 2, tenant="bank")
    memory.tell(3, 3)
    reader = reader_of(memory)

    assert [1] == [e["partition"] for e in (await reader.read_page(tenant="shop"))[0]]
    assert [] == (await reader.read_page(tenant="shop", type="otp.sent"))[0]
    assert [3, 2, 1] == [e["partition"] for e in (await reader.read_page(type="otp.issued"))[0]]


# ----------------------------------------------------------------------------------- the cursor


async def cursor_of(**filters) -> str:
    memory = Memory()
    for partition in range(64):
        memory.tell(partition, 1, number=pseudonym_of(PHONE))
        memory.tell(partition, 2, number=pseudonym_of(PHONE))
    _, cursor = await reader_of(memory).read_page(limit=1, **filters)
    assert cursor
    return cursor


async def test_a_cursor_fits_into_a_url():
    """At most 4096 characters of the URL's own alphabet."""
    memory = Memory()
    for partition in range(64):
        memory.entries[partition] = [
            Entry(partition=partition, position=p, epoch=1, event=b"", mac="", stamp=b"")
            for p in (StreamPosition(1, 1), StreamPosition(2**64 - 1, 2**64 - 2))
        ]

    _, cursor = await reader_of(memory).read_page(limit=64)

    assert cursor
    assert len(cursor) <= 4096


def packed(*value: object) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "=", "a b", "\n", "é", "AAAA", "../etc", "{}",
        packed(), packed(2), packed(2, None, None), packed(2, [], None), packed(2, [[1, 2]], None),
        packed(2, [[p, 1, 1] for p in range(63)], None),
        packed(2, [[p, 1, 1] for p in range(65)], None),
        packed(2, [[0, 1, 1] for _ in range(64)], None),
        packed(1, [[p, 1, 1] for p in range(64)]),
        packed(3, [[p, 1, 1] for p in range(64)], None),
        packed(2, [[p, -1, 1] for p in range(64)], None),
        packed(2, [[p, 1, -1] for p in range(64)], None),
        packed(2, [[p, 1.5, 1] for p in range(64)], None),
        packed(2, [[p, "1", 1] for p in range(64)], None),
        packed(2, [[p, 1, 1] for p in range(64)], [1, 0]),
        packed(2, [[p, 1, 1] for p in range(64)], "../etc"),
    ],
)  # fmt: skip
async def test_a_cursor_that_is_not_ours_is_refused(cursor):
    """The response is 400 with the field's name, never 500 or a guess."""
    with pytest.raises(InvalidRequest) as refusal:
        await reader_of(Memory()).read_page(cursor=cursor)

    assert ["cursor"] == [path for path, _ in refusal.value.errors]


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: urlsafe_b64encode(b).decode()))
def test_no_text_at_all_breaks_the_reader(cursor):
    """Everything is read or refused."""
    with contextlib.suppress(InvalidRequest):
        asyncio.run(reader_of(Memory()).read_page(cursor=cursor))


async def test_a_cursor_goes_on_with_the_question_it_belongs_to():
    """One for a single number would silently leave out the other partitions."""
    with pytest.raises(InvalidRequest):
        await reader_of(Memory()).read_page(cursor=await cursor_of(number=PHONE))
    with pytest.raises(InvalidRequest):
        await reader_of(Memory()).read_page(cursor=await cursor_of(), number=PHONE)


# --------------------------------------------------------------------------- what an event shows


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_763_814_000_123, "2025-11-22T12:20:00.123Z"),
        (2**64 - 1, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_instants_are_utc_with_milliseconds(at, text):
    """RFC 3339; an instant out of range becomes the last valid one."""
    assert text == format_rfc3339(at)


async def test_what_we_know_stands_above_what_the_event_says():
    """A forged event cannot choose its own position, time or integrity result."""
    memory = Memory()
    memory.tell(1, 5, partition=9, at="x", event_id="x", sequence=9, epoch=9, integrity="ok")
    (forged,) = memory.entries[1]
    memory.entries[1] = [msgspec.structs.replace(forged, mac="forged")]

    ((event,), _) = await reader_of(memory).read_page()

    assert ("01-1-1", 1, 1, 1) == (
        event["event_id"],
        *(event[n] for n in ("partition", "epoch", "sequence")),
    )
    assert ("1970-01-01T00:00:00.005Z", "failed") == (event["at"], event["integrity"])


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"null", b'{"type":1}', b"{"])
async def test_an_event_that_cannot_be_read_is_shown_as_that(body):
    """Only an unfiltered query returns it; it cannot be known to match a filter."""
    memory = Memory()
    memory.tell(1, 5)
    memory.entries[1] = [msgspec.structs.replace(memory.entries[1][0], event=body, mac="x")]
    reader = reader_of(memory)

    ((event,), _) = await reader.read_page()

    assert "failed" == event["integrity"]
    assert ([], None) == await reader.read_page(tenant="shop")


# -------------------------------------------------------------------------------- on real streams


@pytest.fixture
def world(script_client: ScriptClient) -> Installation:
    return Installation(script_client)


@pytest.fixture
def reader(world: Installation) -> EventReader:
    return EventReader(
        RedisEventStreams(world.script_client, world.store.key_names),
        partitions_of=world.store.list_number_partitions,
        ring=world.keys.pseudonym,
        verify_mac=world.store.cipher.verify_event,
    )


async def test_events_and_refusals_are_one_log(world, reader):
    """Two streams, one sequence; the newest comes first."""
    stored = await world.issue(PHONE.e164)
    with pytest.raises(RateLimited):
        await world.issue(PHONE.e164)
    await world.verify(stored, world.router.extract_code())

    found, following = await reader.read_page(number=PHONE)

    assert following is None
    assert ["otp.verified", "otp.attempted", "otp.issue_denied", "otp.sent", "otp.issued"] == [
        event["type"] for event in found
    ]
    assert [6, 5, 4, 3, 2] == [event["sequence"] for event in found], "the epoch's event is 1"
    assert {"ok"} == {event["integrity"] for event in found}
    assert {world.keys.pseudonym.current.derive_pseudonym("number", PHONE.canonical)} == {
        e["number"] for e in found
    }


async def test_a_refusal_tells_its_reason_and_its_limit(world, reader):
    """Only Redis knew which it would be."""
    await world.issue(PHONE.e164)
    with pytest.raises(RateLimited):
        await world.issue(PHONE.e164)
    blocked = events.BlocklistChanged(id="0" * 32, reason="blocked")
    await NumberAdmin(world.store, world.keys.pseudonym).block_number(
        PHONE, blocked, os.urandom(16).hex()
    )
    with pytest.raises(NumberNotAllowed):
        await world.issue(PHONE.e164)

    (blocked_event, limited), _ = await reader.read_page(number=PHONE, type="otp.issue_denied")

    assert "blocked" == blocked_event["reason"]
    assert ("rate_limited", "CooldownPerNumber", 1, 30) == tuple(
        limited[name] for name in ("reason", "limit", "quota", "period")
    )


async def test_folded_refusals_are_one_event_with_their_number(world, reader):
    """First and last are instants like any other."""
    await world.issue(PHONE.e164)
    for _ in range(15):
        with pytest.raises(RateLimited):
            await world.issue(PHONE.e164)
    world.advance_clock(120_000)
    await world.store.flush_folds(
        world.store.get_number_partition(PHONE.canonical), os.urandom(16).hex()
    )

    found, _ = await reader.read_page(number=PHONE, type="otp.issue_denied")

    assert [5] + [None] * 10 == [event.get("folded") for event in found]
    assert found[0]["first"] <= found[0]["last"] < found[0]["at"]


async def test_tenants_see_their_own_and_the_security_team_everybodys(world, reader):
    """Events of the log itself belong to no tenant."""
    for tenant, phone in (("shop", PHONE), ("bank", OTHER)):
        await world.issue(phone.e164, tenant=tenant)

    own, _ = await reader.read_page(tenant="shop")
    everybodys, _ = await reader.read_page()

    assert {"shop"} == {event["tenant"] for event in own}
    assert {"shop", "bank", None} == {event.get("tenant") for event in everybodys}
    assert "log.epoch" in {event["type"] for event in everybodys}


async def test_many_pages_of_all_partitions_hold_everything_once(world, reader):
    """On one server and on a cluster; what happens meanwhile is on no page."""

    async def tell(n: int) -> None:
        event = events.ServiceChanged(id=f"{n:032x}")
        operation = os.urandom(16).hex()
        await world.store.commit(Commit(partition=n % 64, operation_id=operation, events=(event,)))

    await asyncio.gather(*(tell(n) for n in range(500)))
    found, cursor = await reader.read_page(type="service.changed", limit=70)
    while cursor:
        await tell(1000)
        page, cursor = await reader.read_page(type="service.changed", limit=70, cursor=cursor)
        found += page

    assert {f"{n:032x}" for n in range(500)} == {event["id"] for event in found}
    assert 500 == len(found)
    assert sorted(places(found), reverse=True) == places(found)


async def test_whoever_writes_to_redis_does_not_stop_the_reader(world, reader, script_client):
    """A foreign entry of any content and position is shown with a failed integrity check."""
    _, stream, refusals, *_ = world.store.key_names.event_log_keys(3)
    last = f"{MAX_POSITION.at}-{MAX_POSITION.sequence - 1}"
    await script_client.run_pipeline(
        stream, [("XADD", stream, "5-5", "epoch", "x", "mac", b"\xff", "odd", "1")]
    )
    await script_client.run_pipeline(
        stream, [("XADD", refusals, last, "event", "{}", "stamp", "[]")]
    )

    found, following = await reader.read_page(limit=1)
    rest, _ = await reader.read_page(limit=1, cursor=following)

    assert ["failed", "failed"] == [event["integrity"] for event in (*found, *rest)]
    assert ["03-0-18446744073709551614", "03-0-5"] == [e["event_id"] for e in (*found, *rest)]
