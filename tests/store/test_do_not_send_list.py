"""The do-not-send list: what opts out and in, and what a message from a phone is decided on."""

import asyncio
import itertools
import os
import random

import msgspec
import pytest

from otp_service.core.do_not_send import (
    ALL_TENANTS,
    PROCESSED_MESSAGE_TTL_MS,
    SUBMISSION_MARK_TTL_MS,
    DoNotSendEntry,
    DoNotSendReason,
    Recipient,
    SubmissionMark,
    UnreadableEntry,
)
from otp_service.core.errors import EventLogFull, NotReplicated, NumberNotAllowed
from otp_service.core.events import NumberOptedOut
from otp_service.core.keys import Key, KeyRing
from otp_service.core.phone_number import parse_number
from otp_service.core.timestamps import DAY_MS
from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import LogLimits
from otp_service.store.data_reset import DataReset
from otp_service.store.do_not_send_list import DIGEST_CHARS, MAX_PROCESSED_MESSAGES
from otp_service.store.mode_mark import claim_mode
from tests.installation import (
    ACCEPTED_REPLY,
    PROVIDER_REFUSAL,
    RECIPIENT_REFUSAL,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    gather_results,
)
from tests.service.test_commit_guards import lose_replicas
from tests.store.texting_person import OWN_NUMBER, PHONE, PROVIDER, TextingPerson


OTHER_PHONE = parse_number("+447400123457")


@pytest.fixture
def person(script_client: ScriptClient) -> TextingPerson:
    return TextingPerson(Installation(script_client))


# ------------------------------------------------------------------------------ what is refused


async def test_an_opt_out_of_one_tenant_does_not_refuse_another(person: TextingPerson) -> None:
    """The person answered the sender of one tenant."""
    assert await person.send_stop("shop")

    assert ["opted_out", None] == await person.find_refusals()


async def test_an_opt_out_of_all_tenants_refuses_each(person: TextingPerson) -> None:
    """Nothing shows which tenant the person meant."""
    assert await person.send_stop(ALL_TENANTS)

    assert ["opted_out", "opted_out"] == await person.find_refusals()


async def test_an_opt_out_refuses_no_other_number(person: TextingPerson) -> None:
    """Also of the same block of ten thousand, and so of the same partition."""
    await person.send_stop(ALL_TENANTS)

    assert [None, None] == await TextingPerson(person.installation, OTHER_PHONE).find_refusals()


async def test_every_spelling_of_a_phone_is_opted_out(person: TextingPerson) -> None:
    """A Palestinian mobile under its own code and under Israel's is one phone (R36)."""
    phones = [parse_number(text) for text in ("+970599123456", "+972599123456")]
    one, other = (TextingPerson(person.installation, phone) for phone in phones)

    await one.send_stop(ALL_TENANTS)

    assert ["opted_out", "opted_out"] == await other.find_refusals()
    assert await other.send_start(ALL_TENANTS)
    assert [None, None] == await one.find_refusals()


async def test_a_refusal_costs_nothing_and_is_an_event(person: TextingPerson) -> None:
    """R30: no bucket is charged, of the number, the caller, or what all share."""
    await person.send_stop("shop")

    for _ in range(3):
        with pytest.raises(NumberNotAllowed, match="number") as refusal:
            await person.installation.issue(PHONE.e164, account="u-1", client_ip="203.0.113.9")

    assert "opted_out" == refusal.value.reason_code
    assert [] == await person.installation.list_keys("*:limit:*")
    assert [] == person.installation.router.messages
    denied = [e for e in await person.installation.read_events() if e["outcome"] == "failure"]
    assert [("otp.issue_denied", "opted_out", "shop")] * 3 == [
        (event["type"], event["reason"], event["tenant"]) for event in denied
    ]


async def test_a_resend_and_an_automatic_one_are_refused(person: TextingPerson) -> None:
    """The person has answered the first message of a challenge that is still pending."""
    issued = await person.installation.issue(PHONE.e164)
    await person.send_stop("shop")
    person.installation.advance_clock(30 * SECOND_MS)

    with pytest.raises(NumberNotAllowed):
        await person.installation.resend(issued)

    assert 1 == len(person.installation.router.messages)


async def test_a_delivery_is_refused(person: TextingPerson) -> None:
    """The code of another product is a message like any other."""
    await person.send_stop("shop")

    with pytest.raises(NumberNotAllowed) as refusal:
        await person.installation.deliver(number=PHONE.e164)
    await person.installation.deliver(number=PHONE.e164, tenant="bank")

    assert "opted_out" == refusal.value.reason_code
    assert "delivery.denied" in await person.installation.list_event_types()


async def test_a_block_is_the_reason_before_an_opt_out(person: TextingPerson) -> None:
    """An operator has to act first."""
    await person.send_stop("shop")
    await person.block()

    assert ["blocked", "blocked"] == await person.find_refusals()


@pytest.mark.parametrize("is_rotating", [False, True])
async def test_every_set_of_entries_refuses_whom_it_names(
    script_client: ScriptClient,
    is_rotating: bool,  # noqa: FBT001  # of pytest
) -> None:
    """The script decides as the model does: a block first, then an opt-out of all or of the tenant."""
    person = TextingPerson(Installation(script_client))
    if is_rotating:
        keys = person.installation.keys
        ring = KeyRing((Key("2", os.urandom(32)), *keys.limit))
        later = msgspec.structs.replace(keys, limit=ring)
        person = TextingPerson(person.installation.restart(keys=later))
    opt_outs = [ALL_TENANTS, *person.installation.tenants]
    for number, (is_blocked, *chosen) in enumerate(itertools.product((False, True), repeat=4)):
        person.phone = parse_number(f"+4474001234{number:02d}")
        if is_blocked:
            await person.block()
        tenants = list(itertools.compress(opt_outs, chosen))
        for tenant in tenants:
            await person.send_stop(tenant)

        def model(tenant: str) -> str | None:
            is_opted_out = ALL_TENANTS in tenants or tenant in tenants  # noqa: B023  # called here
            return "blocked" if is_blocked else "opted_out" if is_opted_out else None  # noqa: B023

        assert [*map(model, person.installation.tenants)] == await person.find_refusals()


# ------------------------------------------------------------------------------ what is lifted


async def test_a_start_lifts_an_opt_out(person: TextingPerson) -> None:
    await person.send_stop("shop")

    assert await person.send_start("shop")

    assert [None, None] == await person.find_refusals()
    assert ["opted out", "opted in"] == await person.list_changes()


async def test_a_start_never_lifts_a_block(person: TextingPerson) -> None:
    """An operator's block is lifted by an operator alone."""
    await person.block()
    await person.send_stop("shop")

    assert await person.send_start("shop")

    assert ["blocked", "blocked"] == await person.find_refusals()
    assert not await person.send_start("shop")
    assert [("blocked", "", PHONE.masked)] == await person.list_entries()


async def test_a_start_of_one_tenant_lifts_no_opt_out_of_another(person: TextingPerson) -> None:
    """What it lifts is what the caller names."""
    for tenant in (ALL_TENANTS, "shop", "bank"):
        await person.send_stop(tenant)

    await person.send_start("shop")
    await person.send_start(ALL_TENANTS)

    assert [None, "opted_out"] == await person.find_refusals()


async def test_unblock_lifts_the_block_and_every_opt_out(person: TextingPerson) -> None:
    """An operator ends whatever refuses the number, and no other number."""
    other = TextingPerson(person.installation, OTHER_PHONE)
    await other.send_stop("shop")
    await person.block()
    for tenant in (ALL_TENANTS, "shop", "bank"):
        await person.send_stop(tenant)

    await person.unblock()

    assert [None, None] == await person.find_refusals()
    assert [("opted_out", "shop", OTHER_PHONE.masked)] == await person.list_entries()


# ------------------------------------------------------------------- repeats, and who was first


async def test_two_stops_at_once_are_one_change(person: TextingPerson) -> None:
    """Both were decided on the state before: one event, and the other call reports no change."""
    state = await person.read_state()

    changes = await gather_results(*(person.opt_out(state) for _ in range(8)))

    assert 1 == sum(changes)
    assert ["opted out"] == await person.list_changes()


async def test_two_starts_at_once_are_one_change(person: TextingPerson) -> None:
    """The same, for what lifts."""
    await person.send_stop()
    state = await person.read_state()

    changes = await gather_results(*(person.opt_in(state) for _ in range(8)))

    assert 1 == sum(changes)
    assert ["opted out", "opted in"] == await person.list_changes()


@pytest.mark.parametrize("seed", range(4))
async def test_stop_and_start_at_once_leave_what_the_last_event_says(
    person: TextingPerson, seed: int
) -> None:
    """Each event is one change of the state before it, so opt-outs and opt-ins take turns."""
    draw = random.Random(seed)  # noqa: S311  # the order of answers, not a secret

    async def answer(count: int) -> int:
        changes = 0
        for _ in range(count):
            send = draw.choice((person.send_stop, person.send_start))
            changes += await send("shop")
        return changes

    changes = sum(await asyncio.gather(*(answer(12) for _ in range(6))))

    events = await person.list_changes()
    assert changes == len(events) > 2
    assert all(one != other for one, other in itertools.pairwise(events))
    is_opted_out = bool((await person.read_state()).opt_outs)
    assert is_opted_out == (events[-1] == "opted out")
    assert ["opted_out" if is_opted_out else None, None] == await person.find_refusals()


async def test_a_repeat_of_a_stop_after_a_start_changes_nothing(person: TextingPerson) -> None:
    """Vendors repeat a message for hours, and the person has answered START meanwhile."""
    before = await person.read_state("id-1")
    await person.send_stop("shop", "id-1")
    await person.send_start("shop", "id-2")

    assert (await person.read_state("id-1")).is_repeated
    assert not await person.opt_out(before, "shop", "id-1"), "decided before the first was stored"

    assert [None, None] == await person.find_refusals()
    assert ["opted out", "opted in"] == await person.list_changes()
    assert not (await person.read_state("id-3")).is_repeated
    assert not (await person.read_state("id-1", "p2")).is_repeated, "an id is of its provider"
    assert not (await person.read_state("")).is_repeated


async def test_a_repeat_of_a_start_after_a_stop_changes_nothing(person: TextingPerson) -> None:
    """The other way around, the person would get messages again."""
    await person.send_stop("shop", "id-1")
    before = await person.read_state("id-2")
    await person.send_start("shop", "id-2")
    await person.send_stop("shop", "id-3")

    assert not await person.opt_in(before, "shop", "id-2")

    assert ["opted_out", None] == await person.find_refusals()


async def test_help_is_an_event_once_for_a_message(person: TextingPerson) -> None:
    """And changes nothing."""
    assert await person.send_help("id-1")
    assert not await person.send_help("id-1")
    assert await person.send_help("id-2")

    assert ["help", "help"] == await person.list_changes()
    assert [] == await person.list_entries()


async def test_a_message_is_remembered_for_two_days(person: TextingPerson) -> None:
    """Longer than any vendor repeats it, and then nothing is kept of it (R80)."""
    await person.send_stop("shop", "id-1")

    (key,) = await person.installation.list_keys("*:inbound:*")
    left = await person.installation.script_client.run_pipeline(key.decode(), [("PTTL", key)])

    assert PROCESSED_MESSAGE_TTL_MS - 10 * SECOND_MS < left[0] <= PROCESSED_MESSAGE_TTL_MS


async def test_a_flood_of_keywords_for_one_number_fills_no_memory(person: TextingPerson) -> None:
    """Whoever knows the token of an address sends them for nothing: 32 ids are kept, and a repeat is known."""
    for number in range(20):
        assert await person.send_stop("shop", f"stop-{number}")
        assert await person.send_start("shop", f"start-{number}")
        assert await person.send_help(f"help-{number}")

    (key,) = await person.installation.list_keys("*:inbound:*")
    (stored,) = await person.installation.script_client.run_pipeline(key.decode(), [("GET", key)])
    assert MAX_PROCESSED_MESSAGES * DIGEST_CHARS == len(stored)
    for message_id in ("stop-19", "start-19", "help-19", "help-10"):
        assert (await person.read_state(message_id)).is_repeated
    assert not await person.send_stop("shop", "stop-19")
    assert not (await person.read_state("help-5")).is_repeated


@pytest.mark.parametrize("value", [b"1", b"\xff" * 16, b"x" * 16, b"y" * 15])
async def test_a_value_of_another_program_keeps_no_message_out(
    person: TextingPerson, value: bytes
) -> None:
    """It is replaced by the next change."""
    await person.send_stop("shop", "id-1")
    (key,) = await person.installation.list_keys("*:inbound:*")
    client = person.installation.script_client
    await client.run_pipeline(key.decode(), [("SET", key, value)])

    assert await person.send_start("shop", "id-2")
    assert (await person.read_state("id-2")).is_repeated


async def test_a_repeated_operation_changes_nothing(person: TextingPerson) -> None:
    """A lost reply of Redis: the call is repeated under its operation id, and has its first reply."""
    entry = DoNotSendEntry(PHONE.e164, 1)
    event = NumberOptedOut(id="1")
    results = [
        await person.registry.opt_out(
            PHONE, "shop", entry, message=None, event=event, operation_id="stop"
        )
        for _ in range(2)
    ]

    assert [True, True] == results
    assert ["opted out"] == await person.list_changes()


@pytest.mark.parametrize("answer", ["send_stop", "send_start", "send_help"])
async def test_a_change_is_reported_only_once_replicas_have_it(
    person: TextingPerson, answer: str
) -> None:
    """R79: a failover must not undo a STOP. The vendor brings it again, and it is a repeat."""
    if answer == "send_start":
        await person.send_stop("shop")
    lose_replicas(person.installation)
    send = getattr(person, answer)
    options = {} if answer == "send_help" else {"tenant": "shop"}

    with pytest.raises(NotReplicated):
        await send(message_id="id-1", **options)

    assert (await person.read_state("id-1")).is_repeated
    assert not await send(message_id="id-1", **options)


async def test_a_full_log_refuses_no_stop(script_client: ScriptClient) -> None:
    """R73: issues are refused until the archive has the events; what a person asks for is not."""
    person = TextingPerson(Installation(script_client))
    limits = LogLimits(retention_ms=DAY_MS, max_stream_entries=1, has_archive=True)
    await person.send_stop("bank")
    person.installation.store._log_limits = limits
    with pytest.raises(EventLogFull):
        await person.installation.issue(PHONE.e164)

    assert await person.send_stop("shop")
    assert await person.send_start("shop")


# ---------------------------------------------------------------------------- marks of messages


async def test_each_submission_that_may_have_been_sent_is_marked(person: TextingPerson) -> None:
    """Accepted, or without a known outcome; a refused one leads to no answer."""
    person.installation.router.queue_replies(PROVIDER_REFUSAL, UNKNOWN_OUTCOME, ACCEPTED_REPLY)
    await person.installation.issue(PHONE.e164)

    providers = {f"p{i}": await person.read_state(provider=f"p{i}") for i in (1, 2, 3, 4)}

    assert {"p1": False, "p2": True, "p3": True, "p4": False} == {
        name: state.is_expected for name, state in providers.items()
    }


@pytest.mark.parametrize("reply", [PROVIDER_REFUSAL, RECIPIENT_REFUSAL])
async def test_a_send_that_was_refused_is_not_marked(person: TextingPerson, reply) -> None:
    person.installation.router.queue_replies(reply)

    await gather_results(person.installation.issue(PHONE.e164))

    assert not (await person.read_state()).is_expected
    assert [] == await person.installation.list_keys("*:submitted:*")


async def test_a_send_that_was_withdrawn_is_not_marked(person: TextingPerson) -> None:
    """Too few replicas have the challenge: no provider was asked."""
    client = person.installation.script_client
    lose_replicas(person.installation)

    with pytest.raises(NotReplicated):
        await person.installation.issue(PHONE.e164)

    person.installation.store.client = client
    assert [] == await person.installation.list_keys("*:submitted:*")
    assert not person.installation.router.messages


async def test_resends_and_deliveries_are_marked(person: TextingPerson) -> None:
    """By the provider that took them."""
    installation = person.installation
    issued = await installation.issue(PHONE.e164)
    installation.advance_clock(30 * SECOND_MS)
    installation.router.queue_replies(PROVIDER_REFUSAL, ACCEPTED_REPLY)
    await installation.resend(issued)
    installation.router.queue_replies(PROVIDER_REFUSAL, PROVIDER_REFUSAL, ACCEPTED_REPLY)
    await installation.deliver(number=OTHER_PHONE.e164)

    assert (await person.read_state(provider="p2")).is_expected
    assert not (await person.read_state(provider="p3")).is_expected
    other = TextingPerson(installation, OTHER_PHONE)
    assert (await other.read_state(provider="p3")).is_expected


async def test_a_mark_is_kept_for_thirty_days_after_the_last_submission(
    person: TextingPerson,
) -> None:
    """Each submission begins them again."""
    installation = person.installation
    await installation.issue(PHONE.e164)
    (key,) = await installation.list_keys("*:submitted:*")
    client = installation.script_client
    await client.run_pipeline(key.decode(), [("PEXPIRE", key, 5000)])
    installation.advance_clock(30 * SECOND_MS)

    await installation.issue(PHONE.e164)

    assert [key] == await installation.list_keys("*:submitted:*")
    (left,) = await client.run_pipeline(key.decode(), [("PTTL", key)])
    assert SUBMISSION_MARK_TTL_MS - 10 * SECOND_MS < left <= SUBMISSION_MARK_TTL_MS


async def test_reading_the_state_writes_nothing(person: TextingPerson) -> None:
    """A forged message to a number that nothing was sent to costs no key."""
    before = await person.installation.list_keys()

    for number in range(50):
        phone = parse_number(f"+4474001{number:05d}")
        state = await TextingPerson(person.installation, phone).read_state("id-1")
        assert not state.is_expected

    assert before == await person.installation.list_keys()


# ------------------------------------------------------------------------------------- the list


async def test_the_list_has_number_tenant_provider_and_instant(person: TextingPerson) -> None:
    """The earliest first, blocks and opt-outs apart."""
    person.installation.advance_clock(SECOND_MS)
    await person.send_stop("shop")
    await person.block(at=7)
    early = DoNotSendEntry(OTHER_PHONE.e164, 8)
    event = NumberOptedOut(id="1")
    await person.registry.opt_out(
        OTHER_PHONE, ALL_TENANTS, early, message=None, event=event, operation_id="import"
    )

    blocks = await person.registry.list_entries(DoNotSendReason.BLOCKED)
    imported, stopped = await person.registry.list_entries(DoNotSendReason.OPTED_OUT)

    assert [DoNotSendEntry(PHONE.e164, 7)] == [one.entry for one in blocks]
    assert (ALL_TENANTS, early) == (imported.tenant, imported.entry)
    assert isinstance(stopped.entry, DoNotSendEntry)
    assert ("shop", PHONE.e164, PROVIDER, OWN_NUMBER) == (
        stopped.tenant,
        stopped.entry.number,
        stopped.entry.provider,
        stopped.entry.own_number,
    )


async def test_a_block_keeps_its_instant(person: TextingPerson) -> None:
    """A second one of the same number is an event, and the list shows since when."""
    await person.block(at=7)
    await person.block()

    (listed,) = await person.registry.list_entries(DoNotSendReason.BLOCKED)

    assert DoNotSendEntry(PHONE.e164, 7) == listed.entry
    assert ["otp.blocklist"] * 2 == await person.installation.list_event_types()


async def test_entries_are_sealed(person: TextingPerson) -> None:
    """R86: a copy of Redis has no number, and not our own number that was answered."""
    await person.block()
    await person.send_stop("shop")
    client = person.installation.script_client

    for pattern in ("*:blocked:*", "*:opted-out:*"):
        (key,) = await person.installation.list_keys(pattern)
        (value,) = await client.run_pipeline(key.decode(), [("GET", key)])
        for text in (PHONE.e164, PHONE.e164[1:], OWN_NUMBER, PROVIDER):
            assert text.encode() not in value
        (ttl,) = await client.run_pipeline(key.decode(), [("PTTL", key)])
        assert -1 == ttl


@pytest.mark.parametrize("value", [b"", b"x", b"forged", b"00000001" + bytes(60), b"+44*****56"])
async def test_a_tampered_entry_refuses_is_listed_and_can_be_lifted(
    person: TextingPerson, value: bytes
) -> None:
    """Fails closed: the script looks whether the key exists, and opens nothing."""
    await person.block()
    await person.send_stop("shop")
    client = person.installation.script_client
    for pattern in ("*:blocked:*", "*:opted-out:*"):
        (key,) = await person.installation.list_keys(pattern)
        await client.run_pipeline(key.decode(), [("SET", key, value)])

    assert ["blocked", "blocked"] == await person.find_refusals()
    assert [
        ("blocked", "", "(unreadable)"),
        ("opted_out", "shop", "(unreadable)"),
    ] == await person.list_entries()
    (opt_out,) = (await person.read_state()).opt_outs
    assert UnreadableEntry("its MAC is wrong") == opt_out.entry
    assert not await person.send_stop("shop")
    assert await person.send_start("shop")
    await person.block()
    assert [("blocked", "", PHONE.masked)] == await person.list_entries()
    await person.unblock()
    assert [None, None] == await person.find_refusals()


async def test_an_entry_that_was_moved_to_another_number_is_listed_as_unreadable(
    person: TextingPerson,
) -> None:
    """The MAC is bound to the key name. The other number is refused nevertheless."""
    await person.send_stop("shop")
    store = person.installation.store
    partition = store.get_number_partition(OTHER_PHONE.canonical)
    copied = store.key_names.opt_out_key(partition, "shop", OTHER_PHONE.canonical)
    (key,) = await person.installation.list_keys("*:opted-out:*")
    await store.client.run_pipeline(copied, [("COPY", key, copied)])

    assert [
        ("opted_out", "shop", PHONE.masked),
        ("opted_out", "shop", "(unreadable)"),
    ] == await person.list_entries()


# ------------------------------------------------------------------------ forgetting, and a reset


async def test_forgetting_keeps_the_list_and_deletes_the_marks(person: TextingPerson) -> None:
    """R69: the person asked for the entry; that something was sent is data about the number."""
    other = TextingPerson(person.installation, OTHER_PHONE)
    person.installation.router.queue_replies(UNKNOWN_OUTCOME, ACCEPTED_REPLY)
    await person.installation.issue(PHONE.e164)
    await person.installation.issue(OTHER_PHONE.e164)
    await person.send_stop("shop")

    await person.forget()

    assert ["opted_out", None] == await person.find_refusals()
    assert [b"p1"] == [
        key.split(b":")[2]
        for key in await person.installation.list_keys("*:submitted:*")
        if key.decode() not in person.installation.store.submission_mark_keys("p1", PHONE.canonical)
    ]
    assert not (await person.read_state(provider="p2")).is_expected
    assert (await other.read_state()).is_expected


async def test_a_reset_of_tests_deletes_the_list_and_the_marks(person: TextingPerson) -> None:
    """A test begins with nothing; never in live mode."""
    await claim_mode(person.installation.script_client, "test")
    await person.installation.issue(PHONE.e164)
    await person.send_stop("shop", "id-1")
    await person.block()

    await DataReset(person.installation.store, "test").delete_all("reset-1")

    state = await person.read_state("id-1")
    assert (False, False, ()) == (state.is_expected, state.is_repeated, state.opt_outs)
    assert [None, None] == await person.find_refusals()


# --------------------------------------------------------------------------------- what is shown


@pytest.mark.parametrize(
    "value",
    [
        DoNotSendEntry(PHONE.e164, 1, "p1", OWN_NUMBER),
        Recipient(PHONE.canonical, "shop"),
        SubmissionMark("p1", PHONE.canonical, 1),
    ],
)
def test_no_representation_shows_a_number(value) -> None:
    """Neither that of Python nor that of rich tracebacks."""
    shown = f"{value!r} {value} {value.__rich_repr__()}"

    assert PHONE.e164[1:] not in shown
    assert OWN_NUMBER not in shown
