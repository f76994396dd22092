"""An attacker with write access to Redis: a forged or moved record is never accepted.

Such an attacker can delete records and roll them back (`store/record_cipher.py`); the consequences
are tested here too.
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.challenge import Challenge, ChallengeStatus
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.errors import ChallengeExpired, OtpError, StoreKeyUnknown, StoreTampered
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import Bucket, Limit
from otp_service.core.ports import IdempotencyRecord
from otp_service.store.client import ScriptClient
from otp_service.store.record_cipher import MAC_BYTES, VERSION_DIGITS, RecordCipher
from otp_service.store.version_guard import VersionGuard
from tests.installation import (
    SECOND_MS,
    Installation,
    gather_results,
    generate_keys,
    make_wrong_code,
)


NUMBER, OTHER = "+447400123456", "+447400123457"

Tamper = Callable[[bytes], bytes]


# ---------------------------------------------------------------------------- the vault by itself

KEYS = generate_keys()
NAME = "{07}:challenge:shop:c07-00000000000000000000000000000000"
BODY = b"what is kept of a challenge"


def vault(keys: Any = KEYS) -> RecordCipher:
    """Return a vault with these keys."""
    return RecordCipher(keys, os.urandom)


def refused(record: bytes, name: str = NAME, keys: Any = KEYS) -> bool:
    """Return whether a record is not opened; any other error propagates."""
    try:
        vault(keys).open_record(name, record)
    except (StoreTampered, StoreKeyUnknown):
        return True
    return False


@given(st.binary(max_size=300), st.integers(0, 10**8 - 1), st.text(max_size=50))
def test_what_was_closed_opens_under_its_own_name(body: bytes, version: int, name: str) -> None:
    """Design 7: the version is returned with it."""
    record = vault().seal_record(name, version, body)

    assert (version, body) == vault().open_record(name, record)
    assert record.startswith(RecordCipher.format_version(version).encode())
    assert len(body) < 4 or body not in record


def test_every_single_bit_counts() -> None:
    """Design 7: the MAC is over all of it."""
    record = vault().seal_record(NAME, 1, BODY)

    for place in range(len(record)):
        for bit in range(8):
            flipped = bytearray(record)
            flipped[place] ^= 1 << bit
            assert refused(bytes(flipped)), (place, bit)


def test_every_single_byte_counts() -> None:
    """Design 7: cut off anywhere, or with something before or behind."""
    record = vault().seal_record(NAME, 1, BODY)

    for end in range(len(record)):
        assert refused(record[:end])
        assert refused(record[end + 1 :])
    assert refused(record + b"\0")
    assert refused(b"0" + record)
    assert refused(b"")


@given(st.binary(max_size=200))
def test_noise_is_refused_and_breaks_nothing(noise: bytes) -> None:
    """R77: a StoreTampered, and no other exception."""
    assert refused(noise)
    assert refused(b"00000001" + noise)
    assert refused(b"00000001" + vault()._keys.encoded_key_ids + noise)


def test_another_name_is_another_record() -> None:
    """Design 7: the key's name is part of what is authenticated."""
    record = vault().seal_record(NAME, 1, BODY)

    assert refused(record, NAME.replace("challenge", "secret"))
    assert refused(record, NAME.replace("shop", "bank"))
    assert refused(record, NAME[:-1] + "1")


def test_the_mac_is_over_name_version_and_bytes() -> None:
    """Design 7: the sealed body is bound to the name too, so this is a second check of the same thing."""
    record = vault().seal_record(NAME, 7, BODY)

    assert (
        KEYS.state.current.compute_mac("record", NAME.encode(), record[:-MAC_BYTES])[:MAC_BYTES]
        == record[-MAC_BYTES:]
    )
    assert b"00000007" == record[:VERSION_DIGITS]


def test_parts_of_two_records_make_no_third() -> None:
    """Design 7: another version, another sealed body, another MAC, all of the same keys."""
    one, other = vault().seal_record(NAME, 1, BODY), vault().seal_record(NAME, 2, BODY[::-1])
    body = VERSION_DIGITS + len(vault()._keys.encoded_key_ids)

    assert refused(other[:VERSION_DIGITS] + one[VERSION_DIGITS:])
    assert refused(one[:body] + other[body:])
    assert refused(one[:-MAC_BYTES] + other[-MAC_BYTES:])


def test_keys_that_are_unknown_or_somebodys_own_open_nothing() -> None:
    """R12: a record names its keys; a name alone opens nothing."""
    record = vault(generate_keys()).seal_record(NAME, 1, BODY)
    retired = vault(generate_keys("retired")).seal_record(NAME, 1, BODY)

    assert refused(record)
    assert refused(retired)
    assert refused(record.replace(b"1/1", b"1/2"))
    assert refused(record.replace(b"1/1", b"///"))
    assert refused(record.replace(b"1/1", b"\xff\xff\xff"))


@pytest.mark.parametrize("ring", ["seal", "state"])
def test_a_record_under_a_key_that_is_not_in_force_is_no_forgery(ring: str) -> None:
    """While a key is rotated, other workers write records under it. The MAC is checked where it can be."""
    other = generate_keys("2")
    writer = msgspec.structs.replace(KEYS, **{ring: getattr(other, ring)})
    record = vault(writer).seal_record(NAME, 1, BODY)

    with pytest.raises(StoreKeyUnknown):
        vault().open_record(NAME, record)
    if ring == "seal":
        with pytest.raises(StoreTampered):
            vault().open_record(NAME, record[:-1] + bytes([record[-1] ^ 1]))


BUCKET = "{07}:limit:ConsecutiveFailuresPerNumber:shop:AAAAAAAAAAAAAAAA"


def test_a_subject_is_the_same_bytes_each_time_and_no_other_subject_has_its_nonce() -> None:
    """So many attempts count once against the 2³² records of one key with random nonces."""
    cipher = vault()

    sealed = {cipher.seal_constant(BUCKET, b"+447400123456") for _ in range(3)}
    (first,) = sealed
    others = [
        cipher.seal_constant(BUCKET, b"+447400123457"),
        cipher.seal_constant(BUCKET.replace("shop", "bank"), b"+447400123456"),
    ]

    nonce = slice(9 + first[8], 9 + first[8] + 12)
    assert 3 == len({record[nonce] for record in (first, *others)})
    assert (1, b"+447400123456") == cipher.open_record(BUCKET, first)
    assert refused(first, BUCKET.replace("shop", "bank"))


@pytest.mark.parametrize("record", [b"", b"00000001", b"00000001\x05limit"])
def test_the_id_of_a_key_is_read_of_a_whole_head_alone(record: bytes) -> None:
    """A record that another program wrote names no key."""
    with pytest.raises(StoreTampered):
        RecordCipher.parse_key_id(record)


@pytest.mark.parametrize(
    "ids", [b"1", b"1/1/1", b"/1", b"1/", b"1/\n", b"a b/1", b"x" * 33 + b"/1"]
)
def test_what_cannot_be_the_ids_of_keys_is_a_forgery(ids: bytes) -> None:
    """No configuration has such a key."""
    head = b"00000001" + len(ids).to_bytes(1, "big") + ids

    with pytest.raises(StoreTampered):
        vault().open_record(NAME, head + b"\0" * 100)


def test_one_of_the_two_keys_is_not_enough() -> None:
    """Design 7: who has the seal's key cannot sign, who has the state's cannot read."""
    thief = generate_keys()
    sealed = vault(msgspec.structs.replace(thief, seal=KEYS.seal)).seal_record(NAME, 1, BODY)
    signed = vault(msgspec.structs.replace(thief, state=KEYS.state)).seal_record(NAME, 1, BODY)

    assert refused(sealed)
    assert refused(signed)


def test_who_can_only_sign_moves_no_record() -> None:
    """Design 7: the encryption binds a record to its key name too, also after a new signature."""
    other = NAME[:-1] + "1"
    kept = vault().seal_record(NAME, 7, BODY)[:-MAC_BYTES]

    def sign(name: str) -> bytes:
        return kept + KEYS.state.current.compute_mac("record", name.encode(), kept)[:MAC_BYTES]

    assert not refused(sign(NAME), NAME)
    assert refused(sign(other), other)


def test_both_keys_are_in_force_while_one_is_rotated() -> None:
    """R12: what the old key closed opens until it is gone."""
    old = vault().seal_record(NAME, 1, BODY)
    new = generate_keys("2")
    both = {n: KeyRing((*getattr(new, n), *getattr(KEYS, n))) for n in ("seal", "state")}

    during, after = msgspec.structs.replace(KEYS, **both), new

    assert (1, BODY) == vault(during).open_record(NAME, old)
    assert b"2/2" in vault(during).seal_record(NAME, 1, BODY)
    assert refused(old, keys=after)


# ------------------------------------------------------------------------ through the whole service


class Thief:
    """An attacker with write access to Redis but without the keys."""

    def __init__(self, world: Installation) -> None:
        self.world = world
        self.link: ScriptClient = world.script_client

    def names(self, stored: ChallengeSnapshot, tenant: str = "shop") -> dict[str, str]:
        """Return the keys of a challenge."""
        id_ = self.world.get_challenge_id(stored)
        partition, names = int(id_[1:3]), self.world.store.key_names
        return {
            "challenge": names.challenge_record_key(partition, tenant, id_),
            "secret": names.secret_record_key(partition, tenant, id_),
        }

    async def read(self, name: str) -> bytes:
        """Return what is there."""
        (value,) = await self.link.run_pipeline(name, [("GET", name)])
        assert isinstance(value, bytes), name
        return value

    async def write(self, name: str, value: bytes) -> None:
        """Put something there."""
        await self.link.run_pipeline(name, [("SET", name, value)])

    async def delete(self, name: str) -> None:
        """Delete the value."""
        await self.link.run_pipeline(name, [("DEL", name)])

    async def delete_failures(self, number: str) -> None:
        """Delete the failures of a number."""
        for limit in (Limit.FAILURES_NUMBER, Limit.CONSECUTIVE_FAILURES):
            for name in self.world.store.bucket_keys(Bucket(limit, "shop", number)):
                await self.delete(name)


@pytest.fixture
def thief(world: Installation) -> Thief:
    """An attacker on the Redis of this installation."""
    return Thief(world)


@pytest.fixture
def world(script_client: ScriptClient) -> Installation:
    """The service on each kind of Redis in turn."""
    return Installation(script_client)


def calls(world: Installation, stored: ChallengeSnapshot, code: str) -> Iterator[Awaitable[Any]]:
    """Return every call that a tenant can make about a challenge."""
    yield world.verify(stored, code)
    yield world.verify(stored, make_wrong_code(code))
    yield world.verify(stored, code, key="k")
    yield world.resend(stored)
    yield world.resend(stored, key="another")
    yield world.service.get_challenge(world.build_caller(), world.get_challenge_id(stored))
    yield world.service.cancel(world.build_caller(), world.get_challenge_id(stored))


async def tampered(world: Installation) -> int:
    """Return how often that was recorded."""
    streams = [world.store.key_names.event_log_keys(partition)[2] for partition in range(64)]
    logs = await world.script_client.read_many(
        [(name, [("XRANGE", name, "-", "+")]) for name in streams]
    )
    return str(logs).count('"type":"store.tampered"')


async def believed_by_nobody(
    world: Installation, stored: ChallengeSnapshot, code: str, *, names_unknown_key: bool = False
) -> None:
    """Nothing is verified, sent, compared or given away; each try is recorded.

    A record that names an unknown key may be one of a rotation, and is refused without an alarm.
    """
    runs, sent, recorded = (
        world.hasher.hash_count,
        len(world.router.messages),
        await tampered(world),
    )

    answers = [(await gather_results(call))[0] for call in calls(world, stored, code)]

    error = StoreKeyUnknown if names_unknown_key else StoreTampered
    assert {error} == {type(answer) for answer in answers}
    assert (runs, sent) == (world.hasher.hash_count, len(world.router.messages))
    assert (0 if names_unknown_key else len(answers)) == await tampered(world) - recorded


FORGERIES_OF_KEY_IDS = {"the keys' names"}

FORGERIES: dict[str, Tamper] = {
    "the version": lambda r: b"00000009" + r[VERSION_DIGITS:],
    "a negative version": lambda r: b"-0000001" + r[VERSION_DIGITS:],
    "no version": lambda r: b"xxxxxxxx" + r[VERSION_DIGITS:],
    "the keys' names": lambda r: r.replace(b"1/1", b"9/9", 1),
    "the first byte sealed": lambda r: r[:24] + bytes([r[24] ^ 1]) + r[25:],
    "the MAC": lambda r: r[:-1] + bytes([r[-1] ^ 1]),
    "half": lambda r: r[: len(r) // 2],
    "a byte less": lambda r: r[:-1],
    "a byte more": lambda r: r + b"\0",
    "everything": lambda _: b"",
    "JSON": lambda _: b'{"status": "verified"}',
    "a record of other keys": lambda _: RecordCipher(generate_keys(), os.urandom).seal_record(
        "name", 1, b""
    ),
}


@pytest.mark.parametrize("record", ["challenge", "secret"])
@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_record_is_never_believed(
    world: Installation, thief: Thief, record: str, forgery: str
) -> None:
    """The issue's tests: never 200, no message, `store.tampered`."""
    issued = await world.issue(NUMBER)
    world.advance_clock(30 * SECOND_MS)
    name = thief.names(issued)[record]
    await thief.write(name, FORGERIES[forgery](await thief.read(name)))

    await believed_by_nobody(
        world,
        issued,
        world.router.extract_code(),
        names_unknown_key=forgery in FORGERIES_OF_KEY_IDS,
    )


@pytest.mark.parametrize("record", ["challenge", "secret"])
async def test_a_flipped_byte_at_any_place_is_found(
    world: Installation, thief: Thief, record: str
) -> None:
    """The issue's tests: by verify, with the right code, before anything is compared."""
    issued = await world.issue(NUMBER)
    code, runs = world.router.extract_code(), world.hasher.hash_count
    name = thief.names(issued)[record]
    whole = await thief.read(name)

    for place in range(len(whole)):
        await thief.write(name, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((StoreTampered, StoreKeyUnknown)):
            await world.verify(issued, code)

    assert runs == world.hasher.hash_count
    await thief.write(name, whole)
    await world.verify(issued, code)


@pytest.mark.parametrize("whose", ["the same tenant's", "another tenant's"])
@pytest.mark.parametrize(
    "copied", [("challenge",), ("secret",), ("challenge", "secret")], ids=" and ".join
)
async def test_a_record_copied_over_another_is_never_believed(
    world: Installation, thief: Thief, whose: str, copied: tuple[str, ...]
) -> None:
    """The issue's tests: my own challenge, whose code I know, in the place of yours."""
    tenant = "shop" if whose.startswith("the same") else "bank"
    mine = await world.issue(OTHER, tenant=tenant)
    known = world.router.extract_code()
    yours = await world.issue(NUMBER)
    world.advance_clock(30 * SECOND_MS)
    for record in copied:
        value = await thief.read(thief.names(mine, tenant)[record])
        await thief.write(thief.names(yours)[record], value)

    await believed_by_nobody(world, yours, known)


async def test_a_sealed_number_that_was_swapped_gets_no_message(
    world: Installation, thief: Thief
) -> None:
    """A code cannot be redirected to the phone of an attacker."""
    his, mine = await world.issue(OTHER), await world.issue(NUMBER)
    world.advance_clock(30 * SECOND_MS)
    a, b = thief.names(his)["secret"], thief.names(mine)["secret"]
    one, other = await thief.read(a), await thief.read(b)
    await thief.write(a, other)
    await thief.write(b, one)

    for challenge in (his, mine):
        with pytest.raises(StoreTampered):
            await world.resend(challenge)

    assert 2 == len(world.router.messages)


async def test_a_record_in_the_place_of_the_other_kind_is_never_believed(
    world: Installation, thief: Thief
) -> None:
    """The names differ, so the MACs do."""
    issued = await world.issue(NUMBER)
    world.advance_clock(30 * SECOND_MS)
    names = thief.names(issued)
    await thief.write(names["challenge"], await thief.read(names["secret"]))

    await believed_by_nobody(world, issued, world.router.extract_code())


async def test_a_challenge_cannot_be_moved_to_another_id_or_tenant(
    world: Installation, thief: Thief
) -> None:
    """Design 7: id and tenant come from the URL and the API key, never from the record."""
    issued = await world.issue(NUMBER)
    code = world.router.extract_code()
    id_ = world.get_challenge_id(issued)
    new_id = id_[:-1] + ("0" if id_[-1] != "0" else "1")
    there = thief.names(issued)
    for kind, name in there.items():
        value = await thief.read(name)
        await thief.write(name.replace(id_, new_id), value)
        await thief.write(thief.names(issued, "bank")[kind], value)

    moved = ChallengeSnapshot(
        issued.now, msgspec.structs.replace(_present(issued), id=new_id), None
    )
    with pytest.raises(StoreTampered):
        await world.verify(moved, code)
    with pytest.raises(StoreTampered):
        await world.verify(issued, code, tenant="bank")


# ------------------------------------------------------------------------------ in mid-flight


class Meanwhile:
    """Does something to a record as soon as it has been read, or a code compared."""

    def __init__(self, world: Installation, tamper: Callable[[], Awaitable[None]]) -> None:
        self._world, self._tamper = world, tamper
        self.reads = self.runs = -1

    def after_read(self, number: int) -> None:
        """Run an action after the n-th fetch from now."""
        fetch, self.reads = self._world.store.fetch_challenge, number

        async def reading(tenant: str, challenge_id: str) -> ChallengeSnapshot:
            stored = await fetch(tenant, challenge_id)
            self.reads -= 1
            if self.reads == 0:
                await self._tamper()
            return stored

        self._world.store.fetch_challenge = reading  # type: ignore[method-assign]

    def after_comparison(self) -> None:
        """Run an action while the code is compared."""
        slow = self._world.hasher.compute_argon2id

        async def comparing(code: str, salt: bytes, **more: Any) -> bytes:
            await self._tamper()
            return await slow(code, salt, **more)

        self._world.hasher.compute_argon2id = comparing  # type: ignore[method-assign,assignment]


@pytest.fixture
async def forging(
    world: Installation, thief: Thief
) -> tuple[Installation, ChallengeSnapshot, Meanwhile]:
    """A challenge whose record is forged during a call, as if another commit had changed it."""
    issued = await world.issue(NUMBER)
    world.advance_clock(30 * SECOND_MS)
    name = thief.names(issued)["challenge"]

    async def forge() -> None:
        await thief.write(name, b"00000007" + (await thief.read(name))[VERSION_DIGITS:])

    return world, issued, Meanwhile(world, forge)


async def test_a_claim_that_meets_a_forged_record_compares_nothing(
    forging: tuple[Installation, ChallengeSnapshot, Meanwhile],
) -> None:
    """The record changes between the read and the claim, whose conflict brings the new one."""
    world, issued, meanwhile = forging
    code, runs = world.router.extract_code(), world.hasher.hash_count
    meanwhile.after_read(1)

    with pytest.raises(StoreTampered):
        await world.verify(issued, code)

    assert runs == world.hasher.hash_count
    assert 1 == await tampered(world)


async def test_a_success_that_meets_a_forged_record_is_none(
    forging: tuple[Installation, ChallengeSnapshot, Meanwhile],
) -> None:
    """The record changes between the claim and the outcome."""
    world, issued, meanwhile = forging
    meanwhile.after_comparison()

    with pytest.raises(StoreTampered):
        await world.verify(issued, world.router.extract_code())

    assert 1 == await tampered(world)
    assert "otp.verified" not in await world.list_event_types()


@pytest.mark.parametrize("read", [1, 2])
async def test_a_resend_that_meets_a_forged_record_sends_nothing(
    forging: tuple[Installation, ChallengeSnapshot, Meanwhile], read: int
) -> None:
    """The record changes before the second read, and before the code is added."""
    world, issued, meanwhile = forging
    meanwhile.after_read(read)

    with pytest.raises(StoreTampered):
        await world.resend(issued)

    assert 1 == len(world.router.messages)
    assert 1 == await tampered(world)


async def test_a_cancel_that_meets_a_forged_record_is_none(
    forging: tuple[Installation, ChallengeSnapshot, Meanwhile],
) -> None:
    """The record changes between the read and the change."""
    world, issued, meanwhile = forging
    meanwhile.after_read(1)

    with pytest.raises(StoreTampered):
        await world.service.cancel(world.build_caller(), world.get_challenge_id(issued))

    assert 1 == await tampered(world)


async def test_an_issue_whose_record_is_forged_while_it_is_sent_is_recorded(
    world: Installation, thief: Thief
) -> None:
    """The message is out; what is said of it is 503."""

    async def forge() -> None:
        id_ = world.router.messages[-1].reference.split(".")[1]
        name = world.store.key_names.challenge_record_key(int(id_[1:3]), "shop", id_)
        await thief.write(name, b"00000007" + (await thief.read(name))[VERSION_DIGITS:])

    world.router.on_send = forge

    with pytest.raises(StoreTampered):
        await world.issue(NUMBER)

    assert 1 == await tampered(world)


# ---------------------------------------------------------------------------- idempotency records


def remembered(world: Installation, key: str, tenant: str = "shop") -> str:
    """Return the Redis key of an Idempotency-Key."""
    return world.store.key_names.locate_idempotency_record(tenant, key)[1]


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_idempotency_record_answers_nobody(
    world: Installation, thief: Thief, forgery: str
) -> None:
    """The issue's tests: neither another's challenge nor a second message."""
    await world.issue(NUMBER, key="k")
    name = remembered(world, "k")
    await thief.write(name, FORGERIES[forgery](await thief.read(name)))
    world.advance_clock(60 * SECOND_MS)

    names_unknown_key = forgery in FORGERIES_OF_KEY_IDS
    with pytest.raises(StoreKeyUnknown if names_unknown_key else StoreTampered):
        await world.issue(NUMBER, key="k")

    assert 1 == len(world.router.messages)
    assert (0 if names_unknown_key else 1) == await tampered(world)


@pytest.mark.parametrize("verb", ["issue", "resend"])
async def test_an_idempotency_record_of_another_key_answers_nobody(
    world: Installation, thief: Thief, verb: str
) -> None:
    """My finished call, copied under the key that you are about to use."""
    mine = await world.issue(OTHER, key="mine")
    world.advance_clock(30 * SECOND_MS)
    await world.resend(mine, key="mine, again")
    yours = await world.issue(NUMBER)
    world.advance_clock(30 * SECOND_MS)
    source = {"issue": "mine", "resend": "mine, again"}[verb]
    await thief.write(remembered(world, "yours"), await thief.read(remembered(world, source)))
    sent = len(world.router.messages)

    issuing = verb == "issue"
    with pytest.raises(StoreTampered):
        await (world.issue(NUMBER, key="yours") if issuing else world.resend(yours, key="yours"))

    assert sent == len(world.router.messages)
    assert 1 == await tampered(world)


async def test_a_record_made_by_who_knows_our_format_but_not_our_keys_answers_nobody(
    world: Installation, thief: Thief
) -> None:
    """It says: this call was done, and here is the challenge; with a well-made fingerprint."""
    victim = await world.issue(OTHER)
    lie = IdempotencyRecord(1, bytes(32), world.get_challenge_id(victim), 0, finished=True)
    name = remembered(world, "k")
    forged = RecordCipher(generate_keys(), os.urandom).seal_record(
        name, 1, msgspec.msgpack.encode(lie)
    )
    await thief.write(name, forged)

    with pytest.raises(StoreTampered):
        await world.issue(NUMBER, key="k")

    assert 1 == len(world.router.messages)


async def test_a_challenge_that_its_idempotency_record_names_may_be_forged_too(
    world: Installation, thief: Thief
) -> None:
    """The repeat reads it, and records what it found."""
    issued = await world.issue(NUMBER, key="k")
    name = thief.names(issued)["challenge"]
    await thief.write(name, FORGERIES["the MAC"](await thief.read(name)))

    with pytest.raises(StoreTampered):
        await world.issue(NUMBER, key="k")

    assert 1 == await tampered(world)


# ------------------------------------------------- what an attacker can do: delete, roll back


async def test_a_deleted_secret_leaves_nothing_to_compare_with(
    world: Installation, thief: Thief
) -> None:
    """R79: what is lost is tried again by its person; never verified."""
    issued = await world.issue(NUMBER)
    runs = world.hasher.hash_count
    await thief.delete(thief.names(issued)["secret"])

    with pytest.raises(ChallengeExpired):
        await world.verify(issued, world.router.extract_code())

    assert runs == world.hasher.hash_count


def forget_versions(world: Installation) -> None:
    """Let the store know no more than another process, which has not seen the challenge."""
    world.store._version_guard = VersionGuard()


async def test_a_verified_challenge_that_is_rolled_back_is_tampered_with(
    world: Installation, thief: Thief
) -> None:
    """R4: a process that saw the success refuses it; for another one the secret is missing."""
    issued = await world.issue(NUMBER)
    code, names = world.router.extract_code(), thief.names(issued)
    before = {name: await thief.read(name) for name in names.values()}
    await world.verify(issued, code)
    await thief.write(names["challenge"], before[names["challenge"]])

    with pytest.raises(StoreTampered):
        await world.verify(issued, code)
    forget_versions(world)
    with pytest.raises(ChallengeExpired):
        await world.verify(issued, code)


async def test_a_rolled_back_challenge_gives_no_attempts_back(
    world: Installation, thief: Thief
) -> None:
    """R17: also if the failures of the number are deleted, one guess is compared in a process."""
    issued = await world.issue(NUMBER)
    code, names = world.router.extract_code(), thief.names(issued)
    before = {name: await thief.read(name) for name in names.values()}
    compared = world.hasher.hash_count
    for i in range(20):
        for name, value in before.items():
            await thief.write(name, value)
        await thief.delete_failures(NUMBER)
        await gather_results(world.verify(issued, make_wrong_code(code, i + 1)))

    assert 1 == world.hasher.hash_count - compared
    assert 10 == await tampered(world)  # the other nine are in a fold


async def test_a_rolled_back_challenge_is_refused_where_it_is_swapped(
    world: Installation, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record changes between the read and the attempt, of which the conflict shows it."""
    issued = await world.issue(NUMBER)
    code, name = world.router.extract_code(), thief.names(issued)["challenge"]
    before = await thief.read(name)
    await gather_results(world.verify(issued, make_wrong_code(code, 1)))
    read_values = world.store.read_values

    async def read_and_restore(keys):
        values = await read_values(keys)
        await thief.write(name, before)
        return values

    monkeypatch.setattr(world.store, "read_values", read_and_restore)
    compared = world.hasher.hash_count

    with pytest.raises(StoreTampered):
        await world.verify(issued, code)

    assert compared == world.hasher.hash_count


async def test_a_rolled_back_failure_does_not_refill_the_numbers_budget(
    world: Installation, thief: Thief
) -> None:
    """R17: where each guess reaches another process, the failures of the number stay."""
    issued = await world.issue(NUMBER)
    code, names = world.router.extract_code(), thief.names(issued)
    before = {name: await thief.read(name) for name in names.values()}
    compared = world.hasher.hash_count
    for i in range(20):
        for name, value in before.items():
            await thief.write(name, value)
        forget_versions(world)
        await gather_results(world.verify(issued, make_wrong_code(code, i + 1)))

    assert 10 == world.hasher.hash_count - compared


async def test_an_older_secret_brings_back_an_older_code_and_no_other(
    world: Installation, thief: Thief
) -> None:
    """R7: in another process, a code that was driven out was right once; the number is the same."""
    issued = await world.issue(NUMBER)
    first, name = world.router.extract_code(), thief.names(issued)["secret"]
    before = await thief.read(name)
    for _ in range(2):
        world.advance_clock(30 * SECOND_MS)
        await world.resend(issued)
    await thief.write(name, before)

    with pytest.raises(StoreTampered):
        await world.verify(issued, world.router.extract_code())
    forget_versions(world)
    with pytest.raises(OtpError):
        await world.verify(issued, world.router.extract_code())
    verified = await world.verify(issued, first)

    assert ChallengeStatus.VERIFIED == _present(verified).compute_status(verified.now)


def _present(stored: ChallengeSnapshot) -> Challenge:
    assert stored.challenge
    return stored.challenge


def test_a_key_shows_no_secret() -> None:
    """R68: in a traceback of a tampered record either."""
    assert "Key(1)" == repr(Key("1", bytes(32)))
