"""Key rotation while codes are live: the steps of docs/key-rotation.md and their guarantees.

before   [old]           spread   [old, new]      every worker reads records of both keys
over     [new]           used     [new, old]      new records use the new key
"""

import itertools
import os
from typing import NamedTuple

import msgspec
import pytest

from otp_service.audit.query.reader import EventReader
from otp_service.core.charges import build_consecutive_failure_charge
from otp_service.core.commit import Commit
from otp_service.core.do_not_send import DoNotSendReason, UnreadableEntry
from otp_service.core.errors import (
    ChallengeNotFound,
    CodeAlreadyUsed,
    IncorrectCode,
    InvalidRecoverySet,
    NumberLocked,
    NumberNotAllowed,
    RateLimited,
    StoreKeyUnknown,
    StoreUnavailable,
)
from otp_service.core.events import BlocklistChanged
from otp_service.core.keys import KEY_RING_NAMES, Key, KeyRing, ServiceKeys
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.recovery_codes import decode_recovery_set
from otp_service.core.sealed_token import TokenCipher
from otp_service.schemas import CreateRecoveryCodesRequest, VerifyRecoveryCodeRequest
from otp_service.store.event_streams import RedisEventStreams
from otp_service.store.number_admin import NumberAdmin
from tests.audit.sealed_log import SealedLog, run_until_idle
from tests.installation import (
    ACCEPTED_REPLY,
    PROVIDER_REFUSAL,
    SECOND_MS,
    Installation,
    make_wrong_code,
)
from tests.store.texting_person import TextingPerson


NUMBER = "+447400123456"
HOUR = 3600 * SECOND_MS
RECORD_KEY_RINGS = ("pepper", "seal", "state", "pseudonym")
"""The rings of what Redis holds, except `limit`, which encrypts nothing: it derives names."""


class RotationSteps(NamedTuple):
    """The same installation at each step."""

    before: Installation
    spread: Installation
    used: Installation
    over: Installation

    def wait(self, milliseconds: int) -> None:
        for installation in self:
            installation.advance_clock(milliseconds)


@pytest.fixture
def steps_of(installation):
    """Return a function that returns the steps of a rotation of one ring."""

    def build_steps(ring: str) -> RotationSteps:
        (old,), new = getattr(installation.keys, ring).keys, Key("2", os.urandom(32))
        rings = [KeyRing((old, new)), KeyRing((new, old)), KeyRing((new,))]
        return RotationSteps(
            installation,
            *(
                installation.restart(keys=replace_key_ring(installation.keys, ring, r))
                for r in rings
            ),
        )

    return build_steps


@pytest.fixture(params=KEY_RING_NAMES)
def steps(request, steps_of) -> RotationSteps:
    """Return the steps of each ring in turn."""
    return steps_of(request.param)


@pytest.fixture(params=RECORD_KEY_RINGS)
def steps_of_records(request, steps_of) -> RotationSteps:
    """Return the steps of each ring that encrypts records."""
    return steps_of(request.param)


def generate_key(key_id: str) -> Key:
    return Key(key_id, os.urandom(32))


def replace_key_ring(keys: ServiceKeys, name: str, value: KeyRing | Key) -> ServiceKeys:
    return msgspec.structs.replace(keys, **{name: value})


async def test_codes_of_every_step_verify_at_its_neighbours(steps):
    """R11: workers are replaced one by one, so workers of neighbouring steps run together."""
    pairs = [
        (steps.before, steps.spread),
        (steps.spread, steps.before),
        (steps.before, steps.used),
        (steps.spread, steps.used),
        (steps.used, steps.spread),
        (steps.used, steps.over),
        (steps.over, steps.used),
    ]

    for place, (issuer, verifier) in enumerate(pairs):
        issued = await issuer.issue(f"+44740012345{place}")
        code = issuer.router.extract_code()

        verified = await verifier.verify(issued, code)

        assert verified.challenge is not None
        assert verified.challenge.verified_at is not None


async def test_an_encrypted_number_is_sent_to_again_and_both_codes_verify(steps):
    """The number, the salt and the first code were encrypted with the old keys."""
    issued = await steps.before.issue(NUMBER)
    first = steps.before.router.extract_code()
    steps.wait(30 * SECOND_MS)

    await steps.used.resend(issued)

    assert [NUMBER, NUMBER] == [message.to.e164 for message in steps.before.router.messages]
    await steps.used.verify(issued, first)


async def test_a_locked_number_stays_locked(steps):
    """R18: as long as both keys are known, whichever of them named the failure bucket."""
    await add_failures(steps.before, NUMBER)

    for installation in steps[:3]:
        with pytest.raises(NumberLocked):
            await installation.issue(NUMBER)


async def test_a_repeat_is_answered_and_nothing_is_sent(steps_of_records):
    """Idempotency-Key: the record is encrypted with the old keys, and is kept for 24 hours."""
    steps = steps_of_records
    issued = await steps.before.issue(NUMBER, key="try-1")
    code = steps.before.router.extract_code()

    again = await steps.used.issue(NUMBER, key="try-1")
    won = await steps.used.verify(issued, code, key="try-2")
    repeated = await steps.used.verify(issued, code, key="try-2")

    assert Installation.get_challenge_id(issued) == Installation.get_challenge_id(again)
    assert 1 == len(steps.before.router.messages)
    assert won.challenge == repeated.challenge


async def test_old_events_are_still_authentic_and_found_by_their_number(steps):
    """R69: the state key signs events, the pseudonym key names their numbers."""
    issued = await steps.before.issue(NUMBER)
    await steps.used.verify(issued, steps.before.router.extract_code())
    steps.wait(30 * SECOND_MS)
    await steps.used.issue(NUMBER)

    events, _ = await create_event_reader(steps.used).read_page(number=parse_number(NUMBER))

    assert 2 == sum(event["type"] == "otp.issued" for event in events)
    assert {"ok"} == {event["integrity"] for event in events}


async def test_without_the_old_pepper_a_right_code_is_incorrect(steps_of):
    """Removed before the lifetime of a code is over: the user loses an attempt."""
    steps = steps_of("pepper")
    issued = await steps.used.issue(NUMBER)
    early = await steps.before.issue("+447400123457")

    await steps.over.verify(issued, steps.before.router.extract_code(-2))

    with pytest.raises(IncorrectCode):
        await steps.over.verify(early, steps.before.router.extract_code())


@pytest.mark.parametrize("ring", ["seal", "state"])
async def test_without_the_old_key_a_record_cannot_be_read_and_is_no_tampering(steps_of, ring):
    """Removed before a challenge and its Idempotency-Key have expired (24 hours): 503."""
    steps = steps_of(ring)
    issued = await steps.before.issue(NUMBER, key="try-1")
    code = steps.before.router.extract_code()

    with pytest.raises(StoreKeyUnknown):
        await steps.over.verify(issued, code)
    with pytest.raises(StoreKeyUnknown):
        await steps.over.issue(NUMBER, key="try-1")

    assert "store.tampered" not in await steps.before.list_event_types()
    assert 1 == len(steps.before.router.messages)
    await steps.used.verify(issued, code)


async def test_without_the_old_state_key_events_fail_their_check(steps_of):
    """So it is kept until the streams have deleted the events that it signed."""
    steps = steps_of("state")
    await steps.before.issue(NUMBER)

    events, _ = await create_event_reader(steps.over).read_page(number=parse_number(NUMBER))

    assert {"failed"} == {event["integrity"] for event in events}


async def test_destroying_a_pseudonym_key_unlinks_the_numbers_of_its_time(installation, tmp_path):
    """R69, R74: the archive verifies, and no lock or limit changes, because those have other names."""
    old, second, third = installation.keys.pseudonym.current, generate_key("2"), generate_key("3")
    rings = [KeyRing((second, old)), KeyRing((third, second, old)), KeyRing((third, second))]
    installations = [
        installation,
        *(
            installation.restart(keys=replace_key_ring(installation.keys, "pseudonym", ring))
            for ring in rings
        ),
    ]
    log = SealedLog(installation.script_client, tmp_path / "archive", keys=installation.keys)
    for place, installed in enumerate(installations[:3]):
        installed.clock_shift_ms = place * HOUR
        await installed.issue(NUMBER)
    await add_failures(installations[2], "+447400123457")
    sealer = log.create_sealer()
    await run_until_idle(sealer)
    await sealer.stop()
    before, after = installations[2:]
    after.clock_shift_ms = before.clock_shift_ms

    pseudonyms = {
        id(installed): installed.keys.pseudonym.derive_pseudonyms(
            "number", parse_number(NUMBER).canonical
        )
        for installed in (before, after)
    }
    for installed, count in ((before, 3), (after, 2)):
        page, _ = await create_event_reader(installed).read_page(number=parse_number(NUMBER))
        assert count == sum(event["type"] == "otp.issued" for event in page)
        events = [entry["event"] for entry in log.read_entries()]
        issued = [event["number"] for event in events if event["type"] == "otp.issued"]
        assert count == sum(number in pseudonyms[id(installed)] for number in issued)
        with pytest.raises(NumberLocked):
            await installed.issue("+447400123457")
        with pytest.raises(RateLimited):  # the cooldown of the earlier message
            await installed.issue(NUMBER)
    assert [] == log.verify_archive().findings


async def test_without_the_old_pseudonym_key_no_event_of_a_number_is_found(steps_of):
    """Retired keys are kept until retention ends."""
    steps = steps_of("pseudonym")
    await steps.before.issue(NUMBER)

    assert ([], None) == await create_event_reader(steps.over).read_page(
        number=parse_number(NUMBER)
    )


@pytest.mark.parametrize(
    ("ring", "refusal"),
    [("pepper", IncorrectCode), ("seal", StoreKeyUnknown), ("state", StoreKeyUnknown)],
)
async def test_a_key_used_before_it_is_spread_is_unknown_to_running_workers(
    steps_of, ring, refusal
):
    """This is why the first step is to spread it."""
    steps = steps_of(ring)
    issued = await steps.used.issue(NUMBER)

    with pytest.raises(refusal):
        await steps.before.verify(issued, steps.before.router.extract_code())


async def test_consecutive_failures_are_counted_over_both_limit_keys(steps_of):
    """R18: no rotation allows a second hundred, also in challenges older than the rotation."""
    steps = steps_of("limit")
    await add_failures(steps.before, NUMBER, 40)
    older = await steps.before.issue(NUMBER)
    code = steps.before.router.extract_code()
    await add_failures(steps.used, NUMBER, 59)
    steps.wait(2 * HOUR)  # consecutive failures delay each later attempt
    newer = await steps.used.issue(NUMBER)

    with pytest.raises(IncorrectCode):
        await steps.used.verify(newer, make_wrong_code(steps.before.router.extract_code()))

    steps.wait(2 * HOUR)
    for installation in (steps.spread, steps.used):
        with pytest.raises(NumberLocked):
            await installation.issue(NUMBER)
    with pytest.raises((NumberLocked, ChallengeNotFound)):
        await steps.used.verify(older, code)


async def test_a_challenge_older_than_the_rotation_sees_the_lock(steps_of):
    """Its id keeps it in the partition that the old key chose."""
    steps = steps_of("limit")
    issued = await steps.before.issue(NUMBER)
    await add_failures(steps.used, NUMBER)

    with pytest.raises(NumberLocked):
        await steps.used.verify(issued, steps.before.router.extract_code())


async def test_a_failure_in_an_older_challenge_locks_the_number(steps_of):
    """The new key names its bucket, in the partition that the old key chose."""
    steps = steps_of("limit")
    await add_failures(steps.before, NUMBER, 99)
    issued = await steps.before.issue(NUMBER)

    with pytest.raises(IncorrectCode):
        await steps.used.verify(issued, make_wrong_code(steps.before.router.extract_code()))

    locked = [e for e in await steps.used.read_events() if e["type"] == "otp.locked"]
    assert ["number_locked"] == [event["reason"] for event in locked]
    with pytest.raises(NumberLocked):
        await steps.used.issue(NUMBER)


async def test_a_success_resets_consecutive_failures_under_both_limit_keys(steps_of):
    """R17: the bucket that the old key named does not return."""
    steps = steps_of("limit")
    await add_failures(steps.before, NUMBER, 50)
    steps.wait(2 * HOUR)
    issued = await steps.used.issue(NUMBER)
    await steps.used.verify(issued, steps.before.router.extract_code())

    await add_failures(steps.used, NUMBER, 99)

    steps.wait(2 * HOUR)
    await steps.used.issue(NUMBER)


async def test_an_operator_unlocks_under_both_limit_keys(steps_of):
    """Whichever key named the failure bucket."""
    steps = steps_of("limit")
    await add_failures(steps.before, NUMBER, 60)
    await add_failures(steps.used, NUMBER, 40)

    await steps.used.service.numbers.unlock_number(
        steps.used.build_caller(), parse_number(NUMBER, allow_fictitious=True)
    )

    for installation in (steps.spread, steps.used):
        await installation.issue(NUMBER)
        steps.wait(30 * SECOND_MS)


async def test_the_do_not_send_list_survives_the_rotation_of_every_key(steps):
    """It lasts for years. At each step it refuses, is listed, and is lifted.

    For `limit` the last step is that of `otp-service limit-key move`, which is needed before it.
    """
    blocked = [f"+4474001234{digits}" for digits in (56, 57, 58, 59)]
    opted_out = [f"+4474001235{digits}" for digits in (56, 57, 58, 59)]
    for number in blocked:
        await TextingPerson(steps.before, parse_number(number)).block()
    for number in opted_out:
        await TextingPerson(steps.before, parse_number(number)).send_stop("shop")

    is_limit = steps.over.keys.limit != steps.before.keys.limit
    for place, installation in enumerate(steps[:3] if is_limit else steps):
        on_list = [
            TextingPerson(installation, parse_number(one[place])) for one in (blocked, opted_out)
        ]
        assert [["blocked", "blocked"], ["opted_out", None]] == [
            await person.find_refusals() for person in on_list
        ]
        assert [
            *(("blocked", "", parse_number(number).masked) for number in blocked[place:]),
            *(("opted_out", "shop", parse_number(number).masked) for number in opted_out[place:]),
        ] == await on_list[0].list_entries()
        await on_list[0].unblock()
        assert await on_list[1].send_start("shop")
        for person in on_list:
            assert [None, None] == await person.find_refusals()


async def test_without_the_old_limit_key_an_entry_refuses_nothing_and_is_listed_unreadable(
    steps_of,
):
    """So `otp-service limit-key move` runs before the old key is removed."""
    steps = steps_of("limit")
    await TextingPerson(steps.before).block()

    person = TextingPerson(steps.over)

    assert [None, None] == await person.find_refusals()
    (listed,) = await person.registry.list_entries(DoNotSendReason.BLOCKED)
    assert isinstance(listed.entry, UnreadableEntry)
    assert "limit key '1'" in listed.entry.problem


async def test_a_stop_counts_at_every_step_of_a_rotation_of_the_limit_key(steps_of):
    """Workers of neighbouring steps run together: one opts out, the other refuses and lifts."""
    steps = steps_of("limit")
    pairs = [(steps.spread, steps.used), (steps.used, steps.spread), (steps.before, steps.used)]
    for place, (first, second) in enumerate(pairs):
        phone = parse_number(f"+44740012345{place}")
        stopper, starter = TextingPerson(first, phone), TextingPerson(second, phone)

        assert await stopper.send_stop("shop", "id-1")
        assert ["opted_out", None] == await starter.find_refusals()
        assert not await starter.send_stop("shop")
        assert (await starter.read_state("id-1")).is_repeated

        assert await starter.send_start("shop")
        assert [None, None] == await starter.find_refusals()
        assert [None, None] == await stopper.find_refusals()


async def test_an_opt_out_under_both_limit_keys_is_lifted_with_one_event(steps_of):
    """Two STOPs at two steps at once, of which neither sees the other."""
    steps = steps_of("limit")
    old, new = TextingPerson(steps.spread), TextingPerson(steps.used)
    state = await old.read_state()
    assert await old.opt_out(state, "shop")
    assert await new.opt_out(state, "shop")
    assert 1 == len(await new.list_entries())

    assert await new.send_start("shop")

    for person in (old, new):
        assert [None, None] == await person.find_refusals()
    assert ["opted out", "opted out", "opted in"] == sorted(await new.list_changes(), reverse=True)


async def test_a_start_that_ends_halfway_is_completed_by_its_repeat(steps_of, monkeypatch):
    """The opt-out under one key is lifted, and that under the other is not: the vendor sends again."""
    steps = steps_of("limit")
    old, new = TextingPerson(steps.spread), TextingPerson(steps.used)
    state = await old.read_state()
    await old.opt_out(state, "shop")
    await new.opt_out(state, "shop")
    run_commit, count = new.installation.store.run_commit, itertools.count()

    async def run_first_commit(draft, **options):
        if next(count):
            raise StoreUnavailable
        return await run_commit(draft, **options)

    with monkeypatch.context() as patch:
        patch.setattr(new.installation.store, "run_commit", run_first_commit)
        with pytest.raises(StoreUnavailable):
            await new.send_start("shop", "id-1")

    assert ["opted_out", None] == await new.find_refusals()
    assert await new.send_start("shop", "id-1")
    assert [None, None] == await new.find_refusals()


async def test_an_older_challenge_is_refused_by_an_entry_of_either_key(steps_of):
    """Its resends are decided in the partition that the old key chose."""
    steps = steps_of("limit")
    numbers = [f"+44740012345{digit}" for digit in range(3)]
    issued = [await steps.before.issue(number) for number in numbers]
    steps.wait(30 * SECOND_MS)
    await TextingPerson(steps.used, parse_number(numbers[0])).send_stop("shop")
    await TextingPerson(steps.before, parse_number(numbers[1])).send_stop("shop")

    for one in issued[:2]:
        with pytest.raises(NumberNotAllowed):
            await steps.used.resend(one)
    await steps.used.resend(issued[2])


async def test_marks_of_submissions_are_found_under_both_limit_keys(steps_of):
    """Also that of a resend, which is in the partition of its challenge, with the new name."""
    steps = steps_of("limit")
    resent, issued = parse_number("+447400123451"), parse_number("+447400123452")
    older = await steps.before.issue(resent.e164)
    await steps.before.issue(issued.e164)
    steps.wait(30 * SECOND_MS)
    steps.before.router.queue_replies(PROVIDER_REFUSAL, ACCEPTED_REPLY)
    await steps.used.resend(older)

    for installation in (steps.spread, steps.used):
        for phone, provider in ((resent, "p1"), (resent, "p2"), (issued, "p1")):
            state = await TextingPerson(installation, phone).read_state(provider=provider)
            assert state.is_expected


async def test_a_send_copies_no_entry(steps_of):
    """A copy could be written after the entry was lifted, and would then refuse for years."""
    steps = steps_of("limit")
    person = TextingPerson(steps.before)
    await person.block()
    await person.send_stop("shop")

    for installation in (steps.spread, steps.used):
        assert ["blocked", "blocked"] == await TextingPerson(installation).find_refusals()

    assert 1 == len(await steps.used.list_keys("*:blocked:*"))
    assert 1 == len(await steps.used.list_keys("*:opted-out:*"))


async def test_unblock_and_forget_work_under_both_limit_keys(steps_of):
    """Operators' commands use both keys, as the service does."""
    steps = steps_of("limit")
    phone = parse_number(NUMBER)
    await steps.before.issue(NUMBER)
    await block_number(steps.before, phone)
    operators = NumberAdmin(steps.used.store, steps.used.keys.pseudonym)

    await TextingPerson(steps.before).send_stop("shop")
    await operators.unblock_number(
        phone, BlocklistChanged(id="2", reason="unblocked"), "off", tenants=["shop"]
    )
    erased = await operators.erase_number(
        phone, BlocklistChanged(id="3"), "forget", tenants=["shop"]
    )

    assert (1, True) == (erased.challenges, erased.buckets > 0)
    await steps.used.issue(NUMBER)
    await steps.before.issue(NUMBER)


async def test_a_new_limit_key_resets_every_other_budget(steps_of):
    """This is why it is not rotated on a schedule."""
    steps = steps_of("limit")
    issued = await steps.before.issue(NUMBER, key="try-1")

    again = await steps.used.issue(NUMBER, key="try-1")

    assert Installation.get_challenge_id(issued) != Installation.get_challenge_id(again)
    assert 2 == len(steps.before.router.messages)


def create_event_reader(installation: Installation) -> EventReader:
    return EventReader(
        RedisEventStreams(installation.script_client, installation.store.key_names),
        partitions_of=installation.store.list_number_partitions,
        ring=installation.keys.pseudonym,
        verify_mac=installation.store.cipher.verify_event,
    )


async def add_failures(installation: Installation, number: str, failures: int = 100) -> None:
    """Add this many consecutive failures at once."""
    phone = parse_number(number)
    failure_charge = build_consecutive_failure_charge(installation.tenants["shop"], phone)
    await installation.store.commit(
        Commit(
            partition=installation.store.get_number_partition(phone.canonical),
            operation_id=os.urandom(8).hex(),
            charges=(msgspec.structs.replace(failure_charge, cost=failures, force=True),),
        )
    )


async def block_number(installation: Installation, phone: PhoneNumber) -> None:
    event = BlocklistChanged(id="1", reason="blocked")
    operators = NumberAdmin(installation.store, installation.keys.pseudonym)
    await operators.block_number(phone, event, os.urandom(8).hex())


async def test_a_used_set_survives_a_rotation_of_the_keys_of_records(steps_of_records):
    """Marks of used codes are kept for 401 days, and the old keys of records for one."""
    steps = steps_of_records
    created = await create_recovery_set(steps.before)
    first = await verify_recovery_code(steps.before, created.token, created.codes[0])

    steps.wait(25 * HOUR)
    second = await verify_recovery_code(steps.over, first.token, created.codes[1])

    assert (9, 8) == (first.codes_left, second.codes_left)
    for token in (created.token, first.token, second.token):
        with pytest.raises(CodeAlreadyUsed):
            await verify_recovery_code(steps.over, token, created.codes[0])


async def test_used_recovery_codes_stay_used_through_a_rotation_of_their_key(steps_of):
    """The marks are under the authenticator key, and move to the new one with the next use."""
    steps = steps_of("authenticator")
    created = await create_recovery_set(steps.before)
    await verify_recovery_code(steps.before, created.token, created.codes[0])

    for installation in (steps.spread, steps.used, steps.spread):
        with pytest.raises(CodeAlreadyUsed):
            await verify_recovery_code(installation, created.token, created.codes[0])
    moved = await verify_recovery_code(steps.used, created.token, created.codes[1])

    with pytest.raises(InvalidRecoverySet):
        await verify_recovery_code(steps.over, created.token, created.codes[2])
    last = await verify_recovery_code(steps.over, moved.token, created.codes[2])
    assert 7 == last.codes_left


async def test_without_the_key_of_its_marks_no_code_of_a_set_is_accepted(steps_of):
    """The old key was removed before the marks under it expired: fails closed."""
    steps = steps_of("authenticator")
    created = await create_recovery_set(steps.before)
    answer = await verify_recovery_code(steps.before, created.token, created.codes[0])
    during = TokenCipher(steps.used.keys.authenticator, os.urandom)
    resealed = decode_recovery_set(during, answer.token)[0].seal(during)

    for code in created.codes[:2]:
        with pytest.raises(StoreKeyUnknown):
            await verify_recovery_code(steps.over, resealed, code)


async def create_recovery_set(installation):
    caller, request = installation.build_caller("shop"), CreateRecoveryCodesRequest("u-81")
    return await installation.service.recovery_sets.create_set(caller, request)


async def verify_recovery_code(installation, token, code):
    caller = installation.build_caller("shop")
    request = VerifyRecoveryCodeRequest(token, "u-81", code)
    return await installation.service.recovery_sets.verify_code(caller, request, None)
