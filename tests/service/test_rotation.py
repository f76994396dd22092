"""Rotating keys while codes live: what ROTATION.md promises, step by step.

before   [old]           spread   [old, new]      every worker can read what is to come
over     [new]           used     [new, old]      what is new is made with the new key
"""

import os
from typing import NamedTuple

import msgspec
import pytest

from otp_service.audit.reading import Reader
from otp_service.core.charges import row_of
from otp_service.core.errors import IncorrectCode, NumberLocked, NumberNotAllowed, StoreTampered
from otp_service.core.events import ListChanged
from otp_service.core.keys import Key, Keys, Ring
from otp_service.core.phone import parse
from otp_service.core.ports import Commit
from otp_service.store.operators import Operators
from otp_service.store.streams import RedisStreams
from tests.world import SECOND, World


NUMBER = "+447400123456"
RINGS = ("pepper", "seal", "state", "pseudonym")


class Steps(NamedTuple):
    """The same installation at each step."""

    before: World
    spread: World
    used: World
    over: World

    def wait(self, milliseconds: int) -> None:
        for world in self:
            world.wait(milliseconds)


@pytest.fixture
def steps_of(world):
    """Return the steps of rotating one of the rings."""

    def steps(ring: str) -> Steps:
        (old,), new = getattr(world.keys, ring).keys, Key("2", os.urandom(32))
        rings = [Ring((old, new)), Ring((new, old)), Ring((new,))]
        return Steps(world, *(world.again(keys=_with(world.keys, ring, r)) for r in rings))

    return steps


@pytest.fixture(params=RINGS)
def steps(request, steps_of) -> Steps:
    """The steps of each ring in turn."""
    return steps_of(request.param)


def _with(keys: Keys, name: str, value: Ring | Key) -> Keys:
    return msgspec.structs.replace(keys, **{name: value})


async def test_codes_of_every_step_verify_at_its_neighbours(steps):
    """R11; workers are replaced one by one, so that neighbours run side by side."""
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
        code = issuer.phones.code()

        verified = await verifier.verify(issued, code)

        assert verified.challenge is not None
        assert verified.challenge.verified_at is not None


async def test_a_sealed_number_is_sent_to_again_and_both_codes_are_good(steps):
    """The number, the salt and the first code were closed with the old keys."""
    issued = await steps.before.issue(NUMBER)
    first = steps.before.phones.code()
    steps.wait(30 * SECOND)

    await steps.used.resend(issued)

    assert [NUMBER, NUMBER] == [message.to.e164 for message in steps.before.phones.messages]
    await steps.used.verify(issued, first)


async def test_a_locked_number_stays_locked(steps):
    """Rows and budgets are under the limit key, which is none of these."""
    await _lock(steps.before, NUMBER)

    for world in steps:
        with pytest.raises(NumberLocked):
            await world.issue(NUMBER)


async def test_a_repeat_is_answered_and_nothing_is_sent(steps):
    """Idempotency-Key: the record is closed with the old keys, and lives 24 hours."""
    issued = await steps.before.issue(NUMBER, key="try-1")
    code = steps.before.phones.code()

    again = await steps.used.issue(NUMBER, key="try-1")
    won = await steps.used.verify(issued, code, key="try-2")
    repeated = await steps.used.verify(issued, code, key="try-2")

    assert World.id_of(issued) == World.id_of(again)
    assert 1 == len(steps.before.phones.messages)
    assert won.challenge == repeated.challenge


async def test_old_events_are_still_authentic_and_found_by_their_number(steps):
    """R69: the state key signs them, the pseudonym key names whom they are about."""
    issued = await steps.before.issue(NUMBER)
    await steps.used.verify(issued, steps.before.phones.code())
    steps.wait(30 * SECOND)
    await steps.used.issue(NUMBER)

    found, _ = await _reader(steps.used).page(number=parse(NUMBER))

    assert 2 == sum(event["type"] == "otp.issued" for event in found)
    assert {"ok"} == {event["integrity"] for event in found}


async def test_without_the_old_pepper_a_right_code_is_a_wrong_one(steps_of):
    """Taken out before the lifetime of a code is over: an attempt is lost with it."""
    steps = steps_of("pepper")
    issued = await steps.used.issue(NUMBER)
    early = await steps.before.issue("+447400123457")

    await steps.over.verify(issued, steps.before.phones.code(-2))

    with pytest.raises(IncorrectCode):
        await steps.over.verify(early, steps.before.phones.code())


@pytest.mark.parametrize("ring", ["seal", "state"])
async def test_without_the_old_key_a_record_counts_as_tampered_with(steps_of, ring):
    """Taken out before a challenge is gone and its Idempotency-Key with it (24 hours)."""
    steps = steps_of(ring)
    issued = await steps.before.issue(NUMBER, key="try-1")
    code = steps.before.phones.code()

    with pytest.raises(StoreTampered):
        await steps.over.verify(issued, code)
    with pytest.raises(StoreTampered):
        await steps.over.issue(NUMBER, key="try-1")

    assert "store.tampered" in await steps.before.told()
    assert 1 == len(steps.before.phones.messages)
    await steps.used.verify(issued, code)


async def test_without_the_old_state_key_events_fail_their_check(steps_of):
    """So it stays until the streams have forgotten what it signed."""
    steps = steps_of("state")
    await steps.before.issue(NUMBER)

    found, _ = await _reader(steps.over).page(number=parse(NUMBER))

    assert {"failed"} == {event["integrity"] for event in found}


async def test_without_the_old_pseudonym_key_a_number_has_no_past(steps_of):
    """Retired ones are kept until retention ends."""
    steps = steps_of("pseudonym")
    await steps.before.issue(NUMBER)

    assert ([], None) == await _reader(steps.over).page(number=parse(NUMBER))


@pytest.mark.parametrize(
    ("ring", "refusal"),
    [("pepper", IncorrectCode), ("seal", StoreTampered), ("state", StoreTampered)],
)
async def test_a_key_that_is_used_at_once_is_unknown_to_workers_that_still_run(
    steps_of, ring, refusal
):
    """Why the first step is to spread it."""
    steps = steps_of(ring)
    issued = await steps.used.issue(NUMBER)

    with pytest.raises(refusal):
        await steps.before.verify(issued, steps.before.phones.code())


async def test_a_new_limit_key_keeps_live_codes(world):
    """A challenge's id carries its partition."""
    issued = await world.issue(NUMBER)

    await _with_new_limit(world).verify(issued, world.phones.code())


async def test_a_new_limit_key_loses_locks_budgets_and_the_do_not_send_list(world):
    """It names all of them. That is why it is not rotated on a schedule."""
    blocked = parse("+447400123457")
    told = ListChanged(id="1", reason="blocked")
    await Operators(world.store, world.keys.pseudonym).block(blocked, told, "operation")
    await _lock(world, NUMBER)
    for number, refusal in ((NUMBER, NumberLocked), (blocked.e164, NumberNotAllowed)):
        with pytest.raises(refusal):
            await world.issue(number)

    changed = _with_new_limit(world)

    await changed.issue(NUMBER)
    await changed.issue(blocked.e164)


async def test_a_new_limit_key_does_not_know_what_is_a_repeat(world):
    """A second message goes out."""
    issued = await world.issue(NUMBER, key="try-1")

    again = await _with_new_limit(world).issue(NUMBER, key="try-1")

    assert World.id_of(issued) != World.id_of(again)
    assert 2 == len(world.phones.messages)


def _with_new_limit(world: World) -> World:
    return world.again(keys=_with(world.keys, "limit", Key("2", os.urandom(32))))


def _reader(world: World) -> Reader:
    return Reader(
        RedisStreams(world.link, world.store.names),
        partition_of=world.store.partition_of,
        ring=world.keys.pseudonym,
        verify=world.store.vault.verify,
    )


async def _lock(world: World, number: str) -> None:
    """Count a hundred failures in a row at once."""
    phone = parse(number)
    row = row_of(world.tenants["shop"], phone)
    await world.store.commit(
        Commit(
            partition=world.store.partition_of(phone.collapsed),
            operation="lock",
            charges=(msgspec.structs.replace(row, cost=100),),
            label=phone.masked,
        )
    )
