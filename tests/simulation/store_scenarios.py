"""What the service does with its store, each scenario in the shortest form that sends all its commands."""

import os
from typing import Any

import msgspec
import pytest

from otp_service.app.provider_health_sync import load_provider_health
from otp_service.core.challenge import parse_partition
from otp_service.core.commit import Commit
from otp_service.core.errors import IncorrectCode, OtpError, RateLimited, StoreTampered
from otp_service.core.events import BreakerChanged, NumberErased
from otp_service.core.keys import Key, KeyRing
from otp_service.core.log_entry import ArchivedPosition, StreamPosition
from otp_service.core.ports import InboxMessage, MessageIdRecord
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.commits import DebtCommit, KnownNumberName, TrafficName
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.overrides import Overrides
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.schemas import CreateRecoveryCodesRequest, VerifyRecoveryCodeRequest
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.store.brake_overrides import BrakeOverrides
from otp_service.store.brake_records import BrakeRecords, BrakeSnapshot
from otp_service.store.data_reset import DataReset
from otp_service.store.event_streams import RedisEventStreams
from otp_service.store.health import find_issues, is_ready
from otp_service.store.limit_key_contents import LimitKeyScan
from otp_service.store.limit_key_move import LimitKeyMover
from otp_service.store.message_id_index import RedisMessageIdIndex
from otp_service.store.message_inbox import RedisInbox
from otp_service.store.mode_mark import claim_mode
from otp_service.store.number_admin import NumberAdmin
from otp_service.store.traffic_totals import TrafficTotals
from tests.installation import Installation, make_wrong_code
from tests.service.app_user import AppUser
from tests.store.texting_person import TextingPerson


CLIENT: dict[str, Any] = {"account": "u-1", "client_ip": "192.0.2.7"}
MESSAGE = InboxMessage("+447700900123", "Your code is 864209.", "inbox", "shop", 1_790_000_000_123)


def generate_id() -> str:
    return os.urandom(8).hex()


async def log_in(world: Installation) -> None:
    """Issue, resend, a wrong code, the right one, what is refused after it, and a cancellation."""
    issued = await world.issue(**CLIENT, key="key-1")
    await world.issue(**CLIENT, key="key-1")
    with pytest.raises(RateLimited):
        await world.resend(issued)
    world.advance_clock(31_000)
    issued = await world.resend(issued, key="key-2")
    code = world.router.extract_code()
    with pytest.raises(IncorrectCode):
        await world.verify(issued, make_wrong_code(code), account="u-1")
    await world.verify(issued, code, account="u-1", key="key-3")
    with pytest.raises(OtpError):
        await world.verify(issued, code, account="u-1")
    world.advance_clock(31_000)
    again = await world.issue(**CLIENT)
    caller, challenge_id = world.build_caller(), world.get_challenge_id(again)
    await world.service.get_challenge(caller, challenge_id)
    await world.service.cancel(caller, challenge_id)


async def find_old_record(world: Installation) -> None:
    """A record of a challenge that somebody has put back, which costs a second look."""
    issued = await world.issue(**CLIENT)
    challenge_id = world.get_challenge_id(issued)
    partition = parse_partition(challenge_id)
    assert partition is not None
    key = world.store.key_names.challenge_record_key(partition, "shop", challenge_id)
    (record,) = await world.script_client.read_each([key], "GET")
    with pytest.raises(IncorrectCode):
        await world.verify(issued, make_wrong_code(world.router.extract_code()), account="u-1")
    await world.script_client.run_pipeline(key, [("SET", key, record, "PX", 60_000)])
    with pytest.raises(StoreTampered):
        await world.service.get_challenge(world.build_caller(), challenge_id)


async def use_authenticator(world: Installation) -> None:
    """Enroll, a wrong code, a right one, and the same again."""
    user = AppUser(world)
    await user.enroll()
    with pytest.raises(IncorrectCode):
        await user.verify(await user.read_wrong_code())
    code = await user.read_new_code()
    user.token = (await user.verify(code)).token
    with pytest.raises(OtpError):
        await user.verify(code)


async def use_recovery_codes(world: Installation) -> None:
    """A set, one of its codes, and the same again."""
    caller, sets = world.build_caller(), world.service.recovery_sets
    created = await sets.create_set(caller, CreateRecoveryCodesRequest("u-1"))
    request = VerifyRecoveryCodeRequest(created.token, "u-1", created.codes[0], None)
    answer = await sets.verify_code(caller, request, None)
    with pytest.raises(OtpError):
        await sets.verify_code(
            caller, msgspec.structs.replace(request, recovery_set=answer.token), None
        )


async def check_health(world: Installation) -> None:
    """What `check`, the start and `/readyz` ask, on a server with the mark of a mode."""
    client = world.script_client
    assert await is_ready(client)
    assert [] == await find_issues(client)
    assert [] == await claim_mode(client, "test")
    assert 1 == len(await claim_mode(client, "live"))


async def archive_log(world: Installation) -> None:
    """The lease of the sealer, what is pending, and the marks of what it has archived."""
    await world.issue(**CLIENT)
    source = RedisArchiveSource(world.script_client, world.store.key_names, max_stream_entries=100)
    fence = await source.acquire_lease("me", 60_000, floor=3, status=b"{}")
    assert 0 == await source.acquire_lease("you", 60_000, floor=3, status=b"{}")
    assert fence == await source.acquire_lease("me", 0, floor=3, status=b"{}")
    assert fence < await source.acquire_lease("you", 60_000, floor=3, status=b"{}")
    assert b"{}" == (await source.read_status())[1]
    for _ in range(2):
        pending = await source.fetch_pending(range(64), count=10)
        positions = [
            ArchivedPosition(pending=each, from_start=False, sequence_id=(each.epoch, 1))
            for each in pending
            if each.entries
        ]
        await source.mark_archived(fence, positions)
    await source.fetch_pending(range(64), count=10, from_start=True)
    assert 0 == await source.measure_fullness()
    before = dict.fromkeys(range(64), StreamPosition(2**60, 0))
    streams = RedisEventStreams(world.script_client, world.store.key_names)
    assert any((await streams.fetch_newest(before, since=0, count=5)).values())


async def share_records(world: Installation) -> None:
    """Provider health, and both records of the brake."""
    store = world.store
    version, _ = await load_provider_health(store)
    event = BreakerChanged(id=generate_id(), provider="acme", state="open")
    for expected in (True, False):
        changed = await store.swap_shared_record(
            "providers", version, b"\x80", (event,), generate_id()
        )
        assert expected == changed
    overrides = BrakeOverrides(store)
    loaded = await overrides.load_overrides()
    assert await overrides.swap_overrides(loaded, Overrides(), event, generate_id())
    records = BrakeRecords(store)
    snapshot = await records.read(BrakeSnapshot())
    assert await records.replace_learned(snapshot, snapshot.learned, (), generate_id())
    assert (await records.read(snapshot)).learned_version == 1


async def brake_sends(world: Installation) -> None:
    """Debts, a known number, and the totals of traffic, which are then read and deleted."""
    bucket = ScopeBucket(DebtLimit.SPEND_OVERALL)
    charges = (DebtCharge(bucket, Terms((9, 9)), 1, is_always_charged=True),)
    number, traffic = KnownNumberName("shop", "+447400123456"), TrafficName("shop", "GB")
    debts = DebtCommit(charges=charges, known_number=number, is_assumed_known=True, traffic=traffic)
    await world.store.commit(Commit(partition=7, operation_id="1", debts=debts))
    totals = TrafficTotals(world.store)
    partition = world.store.key_names.compute_shared_partition()
    commit = Commit(partition=partition, operation_id="2", debts=debts)
    await world.store.commit(commit)
    assert 1 == len(await world.store.inspect([commit]))
    scopes = await totals.list_scopes()
    now, _ = await world.store.read_values((f"{{{partition:02d}}}:nothing",))
    await totals.read_recent(scopes, now)
    await totals.read_debts(scopes)
    await totals.read_day_spend(now)
    found = await totals.read_all(scopes)
    await totals.delete_old(found, now + 10**10)
    await totals.delete_old(await totals.read_all(scopes), now)
    assert [] == await totals.list_scopes()


async def answer_messages(world: Installation) -> None:
    """STOP, START and HELP, a block, and the lists of both."""
    person = TextingPerson(world)
    assert [None, None] == await person.find_refusals()
    assert await person.send_stop("shop", "m-1")
    assert not await person.send_stop("shop", "m-1")
    assert ["opted_out", None] == await person.find_refusals()
    await person.block()
    assert 2 == len(await person.list_entries())
    await person.unblock()
    assert not await person.send_start("shop")
    await person.send_help("m-2")


async def administer_numbers(world: Installation) -> None:
    """The numbers that are locked, and forgetting one."""
    issued = await world.issue(**CLIENT)
    code = world.router.extract_code()
    with pytest.raises(IncorrectCode):
        await world.verify(issued, make_wrong_code(code), account="u-1")
    person = TextingPerson(world)
    assert [] == await person.registry.list_locked_numbers(world.tenants)
    assert 1 == (await person.forget()).challenges
    admin = NumberAdmin(world.store, world.keys.pseudonym)
    event = NumberErased(id=generate_id(), reason="by_operator")
    await admin.erase_number(person.phone, event, generate_id(), tenants=["shop"])


async def keep_messages(world: Installation) -> None:
    """The inbox of tests, the ids of providers' messages, and a reset of all data."""
    await claim_mode(world.script_client, "test")
    inbox = RedisInbox(world.store, lambda: MESSAGE.at + 7_200_000)
    for delay in range(5):
        await inbox.add(msgspec.structs.replace(MESSAGE, at=MESSAGE.at + delay), max_messages=3)
    assert 3 == len(await inbox.list_messages())
    late = msgspec.structs.replace(MESSAGE, at=MESSAGE.at + 3_600_003)
    await inbox.add(late, max_messages=3)
    assert 2 == len(await inbox.list_messages())
    index = RedisMessageIdIndex(world.store)
    record = MessageIdRecord("shop.c07-5d41402abc4b2a76b9719d911017c592.1.1", "3456")
    await index.put("acme", "7a2f", record)
    assert [record, None] == await index.get_many("acme", ["7a2f", "31279"])
    assert 0 < await DataReset(world.store, "test").delete_all(generate_id())


async def rotate_limit_key(world: Installation) -> None:
    """Move a block and failures to the next limit key, and count what is left."""
    (old,), new = world.keys.limit.keys, Key("limit-2", os.urandom(32))
    issued = await world.issue(**CLIENT)
    with pytest.raises(IncorrectCode):
        await world.verify(issued, make_wrong_code(world.router.extract_code()), account="u-1")
    await TextingPerson(world).block()
    ring = KeyRing((new, old))
    rotated = world.restart(keys=msgspec.structs.replace(world.keys, limit=ring))
    mover = LimitKeyMover(rotated.store, generate_id)
    await mover.complete_moves()
    contents = await LimitKeyScan(rotated.store).count_all()
    assert 0 < await mover.move(contents)
    await LimitKeyScan(rotated.store).count_moved_kinds()


SCENARIOS = (
    log_in,
    find_old_record,
    use_authenticator,
    use_recovery_codes,
    check_health,
    archive_log,
    share_records,
    brake_sends,
    answer_messages,
    administer_numbers,
    keep_messages,
    rotate_limit_key,
)
