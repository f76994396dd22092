"""The limits inside Redis against the arithmetic in core/limits.py, move by move."""

import math
import os
import secrets
import time
from typing import Any, Protocol

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.challenge import Challenge, ChallengeSecret, build_challenge_id
from otp_service.core.commit import (
    Blocked,
    Committed,
    CompareAndSwap,
    Conflict,
    Locked,
    Refund,
)
from otp_service.core.do_not_send import DoNotSendReason, Recipient
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import Attempted, IssueDenied
from otp_service.core.known_addresses import reduce_window
from otp_service.core.limits import (
    MAX_CONSECUTIVE_FAILURES,
    Algorithm,
    Bucket,
    Charge,
    Limit,
    LimitRefusal,
    Window,
    compute_consecutive_failures_wait,
    compute_gcra,
    compute_sliding_window_wait,
    rebase_tat,
)
from otp_service.service.pending_refunds import MAX_REFUND_WAIT_SECONDS
from otp_service.store.client import ScriptClient
from tests.store.frozen_store import NOW, PARTITION, FrozenStore


SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000

WINDOWS = {
    Limit.SENDS_NUMBER: (Window(3, 30), Window(5, 100)),
    Limit.SENDS_TENANT: (Window(3, 30), Window(7, 100)),
    Limit.CONSECUTIVE_FAILURES: (Window(100, 90 * 86400),),
}
"""One limit of each kind; sevenths make GCRA compute with fractions."""


# ------------------------------------------------------------------------------------ the models


class Model(Protocol):
    """The expected state of one bucket."""

    def __init__(self, windows: tuple[Window, ...]) -> None: ...

    def settle(self, now: int) -> None:
        """Correct what was charged while the clock was ahead of `now`."""

    def waits(self, charge: Charge, now: int) -> list[int | None]:
        """Return how long each window lets the charge wait; None: until an operator."""

    def spend(self, cost: int, now: int, operation: str, /) -> None:
        """Spend it, whether it fits or not."""

    def give_back(self, cost: int, now: int, operation: str, /) -> None:
        """Undo what this operation spent."""

    async def check(self, store: "FrozenStore", key: str, real: float, /) -> None:
        """Compare with what Redis holds; `real` milliseconds may have passed for its expiry."""


class ExactModel(Model):
    """The instants themselves, and which operation spent each."""

    def __init__(self, windows: tuple[Window, ...]) -> None:
        self.windows = windows
        self.spent: list[tuple[int, str]] = []

    def settle(self, now: int) -> None:
        """Count a charge in the future as one of now."""
        self.spent = [(min(instant, now), name) for instant, name in self.spent]

    def waits(self, charge: Charge, now: int) -> list[int | None]:
        """Return how long each window lets the charge wait, which may bring smaller ones."""
        instants = [instant for instant, _ in self.spent]
        return [
            compute_sliding_window_wait(instants, (window,), charge.cost, now)
            for window in charge.windows
        ]

    def spend(self, cost: int, now: int, operation: str) -> None:
        """Record the instants, and drop those that are in no window any more."""
        longest = max(window.period_seconds for window in self.windows) * SECOND
        kept = [(instant, name) for instant, name in self.spent if instant > now - longest]
        self.spent = kept + [(now, operation[-8:])] * cost

    def give_back(self, cost: int, _: int, operation: str) -> None:
        """Remove the instants that an operation spent."""
        left = cost
        for unit in [unit for unit in reversed(self.spent) if unit[1] == operation[-8:]]:
            if left:
                self.spent.remove(unit)
                left -= 1

    async def check(self, store: FrozenStore, key: str, _: float) -> None:
        """Compare with what Redis holds."""
        (packed,) = await store.client.run_pipeline(key, [("GET", key)])
        flat = msgspec.msgpack.decode(packed) if packed else []
        assert self.spent == list(zip(flat[::2], flat[1::2], strict=True))


class GcraModel(Model):
    """One theoretical arrival time for each window."""

    def __init__(self, windows: tuple[Window, ...]) -> None:
        self.windows = windows
        self.tats: list[float] = []
        self.written_at = 0

    def settle(self, now: int) -> None:
        """Move the TATs back as far as the clock was set back since they were written."""
        if self.tats and self.written_at > now:
            moved = [rebase_tat(tat, self.written_at, now) for tat in self.tats]
            self.tats, self.written_at = moved if max(moved) > now else [], now

    def waits(self, charge: Charge, now: int) -> list[int | None]:
        """Return how long each window lets the charge wait."""
        tats = self.tats or [0.0] * len(self.windows)
        pairs = zip(tats, self.windows, strict=True)
        return [compute_gcra(tat, window, charge.cost, now)[0] for tat, window in pairs]

    def spend(self, cost: int, now: int, _: str) -> None:
        """Move every TAT; a bucket whose TATs have passed is deleted."""
        tats = self.tats or [0.0] * len(self.windows)
        moved = [
            compute_gcra(t, window, cost, now)[1]
            for t, window in zip(tats, self.windows, strict=True)
        ]
        self.tats, self.written_at = moved if max(moved) > now else [], now

    def give_back(self, cost: int, now: int, operation: str) -> None:
        """Move them back."""
        self.settle(now)
        if self.tats:
            self.spend(-cost, now, operation)

    async def check(self, store: FrozenStore, key: str, real: float) -> None:
        """Compare with what Redis holds; `real` milliseconds may have passed for its expiry."""
        (packed,) = await store.client.run_pipeline(key, [("GET", key)])
        if packed is None:
            assert max(self.tats, default=0) <= store.now + real + 1
            self.tats = []
        else:
            assert [*self.tats, self.written_at] == msgspec.msgpack.decode(packed)


class RowModel(Model):
    """Failures in a row, and when the last one was and the one before."""

    def __init__(self, windows: tuple[Window, ...]) -> None:
        self.windows = windows
        self.count = self.last = self.before = 0
        self.by = ""

    def settle(self, now: int) -> None:
        """Count a last failure in the future as one of now."""
        self.last = min(self.last, now)

    def waits(self, charge: Charge, now: int) -> list[int | None]:
        """Return how long the next attempt has to wait; None: until an operator."""
        wait = compute_consecutive_failures_wait(self.count, self.last, now)
        return [wait if wait is None or (charge.cost and not charge.skip_delay) else 0]

    def spend(self, cost: int, now: int, operation: str) -> None:
        """Count `cost` more failures, and keep the previous time for `give_back`."""
        self.before, self.by = self.last, operation
        self.count, self.last = self.count + cost, now

    def give_back(self, cost: int, _: int, operation: str) -> None:
        """One failure fewer, and no delay after it, unless there was another since."""
        if not self.count:
            return
        self.count -= cost
        if self.count <= 0:
            self.count = self.last = 0
        elif self.by == operation:
            self.last = self.before

    async def check(self, store: FrozenStore, key: str, _: float) -> None:
        """Compare with what Redis holds."""
        ((count, last),) = await store.client.run_pipeline(key, [("HMGET", key, "count", "last")])
        assert (self.count, self.last) == (int(count or 0), int(last or 0))


MODELS: dict[Limit, type[Model]] = {
    Limit.SENDS_NUMBER: ExactModel,
    Limit.SENDS_TENANT: GcraModel,
    Limit.CONSECUTIVE_FAILURES: RowModel,
}


class Game:
    """A store and its models, which receive the same calls and must agree."""

    def __init__(
        self, link: ScriptClient, windows: dict[Limit, tuple[Window, ...]] | None = None
    ) -> None:
        self.store = FrozenStore(link)
        self.windows = windows or WINDOWS
        self.models = {limit: MODELS[limit](some) for limit, some in self.windows.items()}
        self.spent: list[tuple[str, tuple[Charge, ...], Any]] = []
        self.undone: set[str] = set()
        self._began = time.monotonic()

    def charge(self, limit: Limit, cost: int = 1, *, force: bool = False) -> Charge:
        """Return a charge to this limit's bucket."""
        return Charge(Bucket(limit, "shop", "somebody"), self.windows[limit], cost, force)

    def attempt(self, limit: Limit, cost: int, *, is_known: bool) -> Charge:
        """Return the charge of an attempt from a known or an unknown address."""
        charge = self.charge(limit, cost)
        if is_known or limit.algorithm is not Algorithm.SLIDING_WINDOW:
            return msgspec.structs.replace(charge, skip_delay=is_known)
        reduced = tuple(map(reduce_window, charge.windows))
        return msgspec.structs.replace(charge, windows=reduced, cost=min(cost, 2))

    def key(self, limit: Limit) -> str:
        """Return its key."""
        return self.store.key_names.bucket_key(PARTITION, self.charge(limit).bucket)

    async def spend(self, *charges: Charge) -> Any:
        """Spend from all or from none, in Redis and in the models."""
        for charge in charges:
            self.models[charge.bucket.limit].settle(self.store.now)
        operation, expected = secrets.token_hex(8), self._refusal(charges)
        outcome = await self.store.decide(operation=operation, charges=charges)
        if expected:
            assert expected == outcome
        else:
            assert type(outcome) is Committed
            assert self.store.now == outcome.now
            for charge in charges:
                if charge.cost:
                    model = self.models[charge.bucket.limit]
                    model.spend(charge.cost, self.store.now, operation)
            self.spent.append((operation, charges, outcome))
        await self.check()
        return outcome

    async def give_back(self, index: int, times: int = 1) -> None:
        """Refund a charge, as often as the caller repeats it."""
        operation, charges, _ = self.spent[index % len(self.spent)]
        backs = tuple(Refund(charge, operation) for charge in charges if charge.cost)
        for _ in range(times):
            outcome = await self.store.decide(refunds=backs)  # each under an id of its own
            assert type(outcome) is Committed
        if operation not in self.undone:
            for charge in charges:
                if charge.cost:
                    model = self.models[charge.bucket.limit]
                    model.give_back(charge.cost, self.store.now, operation)
        if backs:
            self.undone.add(operation)
        await self.check()

    async def repeat(self, index: int) -> None:
        """Make a call again whose reply was lost."""
        operation, charges, outcome = self.spent[index % len(self.spent)]
        if operation in self.undone:
            with pytest.raises(StoreUnavailable):
                await self.store.decide(operation=operation, charges=charges)
        else:
            assert outcome == await self.store.decide(operation=operation, charges=charges)
        await self.check()

    async def check(self) -> None:
        """Compare every bucket; one that is empty is not there."""
        real = (time.monotonic() - self._began) * 1000
        for limit, model in self.models.items():
            await model.check(self.store, self.key(limit), real)

    def left(self) -> dict[Limit, Any]:
        """Return the wait of each bucket for a charge of one."""
        now = self.store.now
        return {limit: model.waits(self.charge(limit), now) for limit, model in self.models.items()}

    def _refusal(self, charges: tuple[Charge, ...]) -> LimitRefusal | Locked | None:
        """Return the longest wait; nothing is longer than until an operator."""
        worst = None
        for charge in charges:
            if charge.force:
                continue
            waits = self.models[charge.bucket.limit].waits(charge, self.store.now)
            if None in waits:
                return Locked(charge.bucket.limit)
            longest = max(wait for wait in waits if wait is not None)
            if longest > (worst.wait_ms if worst else 0):
                window = charge.windows[waits.index(longest)]
                worst = LimitRefusal(charge.bucket.limit, window, longest)
        return worst


# ------------------------------------------------------------------------------------ properties

few = settings(
    max_examples=40,
    deadline=None,
    # Each example has keys of its own, so it needs no empty Redis.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

costs = st.integers(0, 3)
some_charges = st.dictionaries(st.sampled_from(list(WINDOWS)), costs, min_size=1)
moves = st.one_of(
    st.tuples(st.just("spend"), some_charges, st.booleans()),
    st.tuples(st.just("spend"), some_charges, st.just(value=False)),
    st.tuples(st.just("attempt"), some_charges, st.booleans()),
    st.tuples(st.just("wait"), st.integers(0, 120 * SECOND)),
    st.tuples(st.just("wait"), st.integers(-5 * SECOND, 5 * SECOND)),
    st.tuples(st.just("wait"), st.integers(-26 * HOUR, 26 * HOUR)),
    st.tuples(st.just("give back"), st.integers(0, 9), st.integers(1, 3)),
    st.tuples(st.just("repeat"), st.integers(0, 9)),
)


@few
@given(st.lists(moves, min_size=12, max_size=30))
async def test_whatever_is_spent_and_given_back_the_buckets_are_the_models(
    script_client: ScriptClient, played: list[tuple[Any, ...]]
) -> None:
    """R80: decisions, waits and what is kept; several kinds in one commit; also a clock that jumps."""
    game = Game(script_client)
    for name, *how in played:
        match name:
            case "spend":
                costs, force = how
                await game.spend(
                    *(game.charge(limit, c, force=force) for limit, c in costs.items())
                )
            case "attempt":
                costs, is_known = how
                await game.spend(
                    *(game.attempt(limit, c, is_known=is_known) for limit, c in costs.items())
                )
            case "wait":
                game.store.now += how[0]
            case "give back" if game.spent:
                await game.give_back(*how)
            case "repeat" if game.spent:
                await game.repeat(*how)


@few
@given(
    st.sampled_from([Limit.SENDS_NUMBER, Limit.SENDS_TENANT]),
    st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(1, 3)), min_size=1, max_size=12),
)
async def test_waiting_exactly_the_wait_succeeds_and_a_millisecond_less_does_not(
    script_client: ScriptClient, limit: Limit, spent: list[tuple[int, int]]
) -> None:
    """R52: Retry-After is true without other charges."""
    game = Game(script_client)
    for pause, cost in spent:
        game.store.now += pause
        outcome = await game.spend(game.charge(limit, cost))
        if isinstance(outcome, LimitRefusal):
            game.store.now += outcome.wait_ms - 1
            almost = await game.spend(game.charge(limit, cost))
            assert isinstance(almost, LimitRefusal)
            assert 1 == almost.wait_ms
            game.store.now += 1
            assert type(await game.spend(game.charge(limit, cost))) is Committed


@few
@given(st.integers(9, 101), st.integers(0, 2 * HOUR))
async def test_a_row_makes_its_next_attempt_wait(
    script_client: ScriptClient, failures: int, pause: int
) -> None:
    """R18, R19: from the tenth on, and from the hundredth until an operator."""
    game = Game(script_client)
    await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES, failures, force=True))
    game.store.now += pause

    outcome = await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES))

    if failures >= MAX_CONSECUTIVE_FAILURES:
        assert Locked(Limit.CONSECUTIVE_FAILURES) == outcome
        assert outcome == await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES, 0))
    elif isinstance(outcome, LimitRefusal):
        assert type(await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES, 0))) is Committed
        game.store.now += outcome.wait_ms
        assert type(await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES))) is Committed
    else:
        assert failures + 1 == outcome.consecutive_failures


@few
@given(some_charges, st.integers(1, 4), st.data())
async def test_a_spend_that_was_given_back_is_not_spent_by_a_late_repeat(
    script_client: ScriptClient, costs: dict[Limit, int], times: int, data: st.DataObject
) -> None:
    """R83: the reply of the spend is lost, it is given back, and then the repeat arrives."""
    game = Game(script_client)
    if data.draw(st.booleans()):
        await game.spend(*(game.charge(limit) for limit in WINDOWS))
    before = game.left()
    await game.spend(*(game.charge(limit, cost, force=True) for limit, cost in costs.items()))

    await game.repeat(-1)
    await game.give_back(-1, times)
    await game.repeat(-1)
    await game.give_back(-1)

    assert before == game.left()


@pytest.mark.parametrize("limit", list(WINDOWS))
async def test_a_bucket_that_becomes_empty_is_deleted(
    script_client: ScriptClient, limit: Limit
) -> None:
    """The contract: a refund leaves no key, so a dump of Redis reveals no number."""
    game = Game(script_client)
    key = game.key(limit)
    for _ in range(2):
        await game.spend(game.charge(limit))

    await game.give_back(0)
    assert [1] == await script_client.run_pipeline(key, [("EXISTS", key)])
    await game.give_back(1)

    assert [0] == await script_client.run_pipeline(key, [("EXISTS", key)])


@pytest.mark.parametrize("limit", list(WINDOWS))
async def test_a_bucket_that_is_gone_gives_nothing_back(
    script_client: ScriptClient, limit: Limit
) -> None:
    """An operator's unlock, or its life time, came first."""
    game = Game(script_client)
    key = game.key(limit)
    await game.spend(game.charge(limit))
    await game.store.decide(reset_buckets=(game.charge(limit).bucket,))

    (operation, charges, _) = game.spent[0]
    await game.store.decide(refunds=(Refund(charges[0], operation),))

    assert [0] == await script_client.run_pipeline(key, [("EXISTS", key)])


@pytest.mark.parametrize("limit", list(WINDOWS))
async def test_a_charge_that_is_not_recorded_is_not_refunded(
    script_client: ScriptClient, limit: Limit
) -> None:
    """Design 4: if it is unknown whether the charge was applied, it stays."""
    game = Game(script_client)
    await game.spend(game.charge(limit))
    await game.spend(game.charge(limit))
    (operation, (charge,), _), before = game.spent[0], game.left()
    record = game.store.key_names.operation_key(PARTITION, operation)
    await script_client.run_pipeline(record, [("DEL", record)])

    for _ in range(2):
        await game.store.decide(refunds=(Refund(charge, operation),))

    await game.check()
    assert before == game.left()


@pytest.mark.parametrize("limit", list(WINDOWS))
async def test_a_charge_that_arrives_after_its_refund_is_not_applied(
    script_client: ScriptClient, limit: Limit
) -> None:
    """R83: its request waits in a network, and the caller gives up and refunds it meanwhile."""
    game = Game(script_client)
    charge, key = game.charge(limit), game.key(limit)
    await game.store.decide(refunds=(Refund(charge, "late"),))

    with pytest.raises(StoreUnavailable):
        await game.store.decide(operation="late", charges=(charge,))

    assert [0] == await script_client.run_pipeline(key, [("EXISTS", key)])


async def test_a_change_that_depends_on_its_refunds_is_made_once(
    script_client: ScriptClient,
) -> None:
    """An attempt is returned to its challenge once, and only if it was charged."""
    game = Game(script_client)
    store, stored = game.store, challenge()
    secret = ChallengeSecret("+447400123456", b"salt", ())
    await store.decide(swap=CompareAndSwap(None, stored, secret))
    charged, charge = stored.charge_attempt(NOW), game.charge(Limit.SENDS_NUMBER)
    await store.decide(operation="attempt", swap=CompareAndSwap(stored, charged), charges=(charge,))

    refunded = charged.refund_attempt()
    record = store.key_names.challenge_record_key(PARTITION, "shop", stored.id)
    for operation, old, version in (
        ("never", charged, b"2"),
        ("attempt", charged, b"3"),
        ("attempt", refunded, b"3"),
    ):
        outcome = await store.decide(
            swap=CompareAndSwap(old, old.refund_attempt()),
            refunds=(Refund(charge, operation),),
            events=(Attempted(id="1"),),
            only_with_refunds=True,
        )
        assert type(outcome) is Committed
        (found,) = await script_client.run_pipeline(record, [("GETRANGE", record, 0, 7)])
        assert version == found.lstrip(b"0")
    await game.store.decide(swap=CompareAndSwap(refunded, refunded.charge_attempt(NOW)))


async def test_the_record_of_a_charge_outlives_the_longest_wait_for_its_refund(
    script_client: ScriptClient,
) -> None:
    """A refund waits until the store answers again, and needs the record then."""
    game = Game(script_client)
    await game.store.decide(operation="charge", charges=(game.charge(Limit.SENDS_TENANT),))
    await game.store.decide(operation="other")

    keys = [game.store.key_names.operation_key(PARTITION, name) for name in ("charge", "other")]
    left = await script_client.run_pipeline(keys[0], [("PTTL", key) for key in keys])

    assert 60 * SECOND >= left[1]
    assert left[0] > (MAX_REFUND_WAIT_SECONDS + 30) * SECOND


@pytest.mark.parametrize("limit", list(WINDOWS))
async def test_a_bucket_lives_no_longer_than_it_matters(
    script_client: ScriptClient, limit: Limit
) -> None:
    """R80: nothing without an end; and none that ends too early."""
    game = Game(script_client)
    key = game.key(limit)
    await game.spend(game.charge(limit, 2))

    (left,) = await script_client.run_pipeline(key, [("PTTL", key)])

    each = [w.period_seconds * SECOND / w.count for w in WINDOWS[Limit.SENDS_TENANT]]
    expected = {
        Limit.SENDS_NUMBER: 100 * SECOND,
        Limit.SENDS_TENANT: math.ceil(2 * max(each)),
        Limit.CONSECUTIVE_FAILURES: 90 * DAY,
    }[limit]
    assert expected - 2000 < left <= expected


# ------------------------------------------------------------------- what a refusal leaves alone


async def snapshot(store: FrozenStore) -> dict[bytes, Any]:
    """Return every key of the partition with its content and its end."""
    anchor = store.key_names.operation_key(PARTITION, "")
    (keys,) = await store.client.run_pipeline(anchor, [("KEYS", f"{{{PARTITION:02d}}}:*")])
    content = await store.client.run_pipeline(
        anchor, [(command, key) for key in keys for command in ("DUMP", "PEXPIRETIME")]
    )
    return dict(zip(keys, zip(content[::2], content[1::2], strict=True), strict=True))


def challenge() -> Challenge:
    """Return one that could be stored."""
    deadline = NOW + HOUR
    return Challenge(
        "shop", build_challenge_id(PARTITION, os.urandom(16)), 1, "login", None, "+44…56", "1:00", "GB",
        NOW, deadline, deadline, NOW, 5, 2,
    )  # fmt: skip


BLOCKED, OPTED_OUT = Recipient("+447400123456", "shop"), Recipient("+447400123457", "shop")
ELSEWHERE = Recipient("+447400123458", "shop", DoNotSendReason.OPTED_OUT)

REFUSING: dict[str, dict[str, Any]] = {
    "blocked": {"recipient": BLOCKED},
    "opted out": {"recipient": OPTED_OUT},
    "opted out under the other limit key": {"recipient": ELSEWHERE},
    "sliding window": {"charges": {Limit.SENDS_NUMBER: 1}},
    "gcra": {"charges": {Limit.SENDS_TENANT: 1}},
    "consecutive failures": {"charges": {Limit.CONSECUTIVE_FAILURES: 1}},
    "consecutive failures, check alone": {"charges": {Limit.CONSECUTIVE_FAILURES: 0}},
}


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("refusing", REFUSING, ids=str)
async def test_a_refused_commit_changes_no_key_but_the_logs(
    script_client: ScriptClient,
    refusing: str,
    told: bool,  # noqa: FBT001
) -> None:
    """R30: no bucket, no record and no end of one; only its own event and its own answer."""
    game = Game(script_client)
    store, names = game.store, game.store.key_names
    for limit, count in (
        (Limit.SENDS_NUMBER, 5),
        (Limit.SENDS_TENANT, 7),
        (Limit.CONSECUTIVE_FAILURES, 100),
    ):
        await game.spend(game.charge(limit, count, force=True))
    other = Charge(Bucket(Limit.FAILURES_NUMBER, "shop", "somebody"), (Window(10, 3600),))
    await store.decide(operation="earlier", charges=(other,))
    stored = challenge()
    secret = ChallengeSecret("+447400123456", b"salt", ())
    await store.decide(swap=CompareAndSwap(None, stored, secret), events=(Attempted(id="1"),))
    blocked = names.block_key(PARTITION, BLOCKED.number)
    opted_out = names.opt_out_key(PARTITION, OPTED_OUT.tenant, OPTED_OUT.number)
    commands = [("SET", key, "") for key in (blocked, opted_out)]
    await script_client.run_pipeline(blocked, commands)
    before = await snapshot(store)

    how = REFUSING[refusing]
    charged = tuple(game.charge(limit, cost) for limit, cost in how.get("charges", {}).items())
    outcome = await store.decide(
        operation="refused",
        recipient=how.get("recipient"),
        swap=CompareAndSwap(stored, stored.charge_attempt(NOW), None),
        charges=(other, *charged),
        refunds=(Refund(other, "earlier"),),
        reset_buckets=(game.charge(Limit.CONSECUTIVE_FAILURES).bucket,),
        events=(Attempted(id="2"),),
        event_if_refused=IssueDenied(id="3") if told else None,
    )

    assert isinstance(outcome, LimitRefusal | Locked | Blocked)
    after = await snapshot(store)
    changed = {key.decode() for key in after if after[key] != before.get(key)}
    log, _, *refusals = names.event_log_keys(PARTITION)
    events = names.event_log_keys(PARTITION)[1]
    assert before.keys() <= after.keys()
    assert names.operation_key(PARTITION, "refused") in changed
    changed -= {names.operation_key(PARTITION, "refused"), events}
    assert changed == ({log, *refusals} if told else set())
    assert before[events.encode()][0] == after[events.encode()][0]


@pytest.mark.parametrize("why", ["conflict", "late"])
async def test_a_commit_that_comes_too_late_changes_nothing_at_all(
    script_client: ScriptClient, why: str
) -> None:
    """R15: after another commit or the deadline; not even the reply is kept."""
    game = Game(script_client)
    store, stored = game.store, challenge()
    secret = ChallengeSecret("+447400123456", b"salt", ())
    await store.decide(swap=CompareAndSwap(None, stored, secret), events=(Attempted(id="1"),))
    old = stored.charge_attempt(NOW) if why == "conflict" else stored
    before = await snapshot(store)

    store.now = NOW if why == "conflict" else stored.deadline
    outcome = await store.decide(
        swap=CompareAndSwap(old, old.charge_attempt(NOW), None, deadline=stored.deadline),
        charges=(game.charge(Limit.SENDS_NUMBER),),
        reset_buckets=(game.charge(Limit.CONSECUTIVE_FAILURES).bucket,),
        events=(Attempted(id="2"),),
        event_if_refused=IssueDenied(id="3"),
    )

    assert isinstance(outcome, Conflict)
    assert stored == outcome.snapshot.challenge
    assert before == await snapshot(store)


async def test_a_refund_of_a_failure_ends_no_delay_of_a_later_one(
    script_client: ScriptClient,
) -> None:
    """R19: the delay counts from the last failure that stays."""
    game = Game(script_client)
    for cost in (10, 1, 1):
        await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES, cost, force=True))
        game.store.now += 5 * SECOND

    await game.give_back(1)
    assert 11 * SECOND < (await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES))).wait_ms
    await game.give_back(2)
    assert type(await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES, 0))) is Committed


@pytest.mark.parametrize("limit", [Limit.SENDS_NUMBER, Limit.SENDS_TENANT])
async def test_a_bucket_filled_while_the_clock_was_ahead_drains_as_any_other(
    script_client: ScriptClient, limit: Limit
) -> None:
    """R52, R81: also if every charge since the correction was refused, so that none was written."""
    game = Game(script_client)
    game.store.now += 26 * HOUR
    for _ in range(3):
        await game.spend(game.charge(limit))
    game.store.now -= 26 * HOUR

    waits = []
    for _ in range(3):
        outcome = await game.spend(game.charge(limit))
        assert isinstance(outcome, LimitRefusal)
        waits.append(outcome.wait_ms)
        game.store.now += SECOND

    assert [waits[0], waits[0] - SECOND, waits[0] - 2 * SECOND] == waits
    assert waits[0] <= outcome.window.period_seconds * SECOND
    game.store.now += waits[-1] - SECOND
    assert type(await game.spend(game.charge(limit))) is Committed


async def test_a_delay_after_failures_ends_after_the_clock_was_ahead(
    script_client: ScriptClient,
) -> None:
    """R19, R81: the last failure was counted a day in the future."""
    game = Game(script_client)
    game.store.now += 26 * HOUR
    await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES, 10, force=True))
    game.store.now -= 26 * HOUR

    outcome = await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES))

    assert isinstance(outcome, LimitRefusal)
    assert 30 * SECOND == outcome.wait_ms
    game.store.now += 30 * SECOND
    assert type(await game.spend(game.charge(Limit.CONSECUTIVE_FAILURES))) is Committed


async def test_a_forced_charge_is_counted_beyond_every_limit(script_client: ScriptClient) -> None:
    """R26: what has been sent is counted, and then refuses the next one."""
    game = Game(script_client)
    for limit, cost in ((Limit.SENDS_NUMBER, 9), (Limit.SENDS_TENANT, 9)):
        assert type(await game.spend(game.charge(limit, cost, force=True))) is Committed

        assert isinstance(await game.spend(game.charge(limit)), LimitRefusal)
