"""The limits of authenticators and recovery codes in Redis against the arithmetic of core/limits.py.

Each factor of each account of each tenant has a model of its own. So the comparison fails if one of
them is charged, refused, locked or unlocked by another one.
"""

import secrets
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core import charges
from otp_service.core.commit import Commit, Committed, Locked, Refund
from otp_service.core.factor import Factor
from otp_service.core.limits import (
    DEFAULT_LIMITS,
    Bucket,
    Charge,
    Limit,
    LimitRefusal,
    Window,
    compute_consecutive_failures_wait,
    compute_sliding_window_wait,
)
from otp_service.core.tenant import Tenant
from otp_service.store.client import ScriptClient
from tests.store.frozen_store import FrozenStore
from tests.store.test_limits_model import DAY, HOUR, SECOND


MAX_FAILURES = 12
"""Instead of 100: a lock is reached after the first delays."""

CONSECUTIVE = {
    Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES: (Window(MAX_FAILURES, 90 * 86400),),
    Limit.CONSECUTIVE_RECOVERY_FAILURES: (Window(MAX_FAILURES, 90 * 86400),),
}
TENANTS = {
    name: Tenant(name, "Example", frozenset({"GB"}), limits={**DEFAULT_LIMITS, **CONSECUTIVE})
    for name in ("shop", "bank")
}


class Subject(NamedTuple):
    """An account at one factor of one tenant."""

    tenant: str
    factor: Factor
    account: str

    def build_charges(self) -> tuple[Charge, Charge]:
        return charges.build_factor_failure_charges(TENANTS[self.tenant], self.factor, self.account)

    def list_buckets(self) -> tuple[Bucket, ...]:
        return charges.list_account_lock_buckets(self.tenant, self.account, self.factor)


class FactorModel:
    """The expected failures of one subject; the clock only goes forward."""

    def __init__(self) -> None:
        self.spent: list[int] = []
        self.count = self.last = 0

    def find_refusal(self, subject: Subject, now: int) -> LimitRefusal | Locked | None:
        """Return the refusal of the next attempt: the longest wait, or a lock."""
        consecutive, failures = subject.build_charges()
        row = compute_consecutive_failures_wait(self.count, self.last, now, MAX_FAILURES)
        if row is None:
            return Locked(consecutive.bucket.limit)
        waits = [(row, consecutive.bucket.limit, consecutive.windows[0])]
        for window in failures.windows:
            wait = compute_sliding_window_wait(self.spent, (window,), 1, now)
            waits.append((wait, failures.bucket.limit, window))
        wait, limit, window = max(waits, key=lambda found: found[0])
        return LimitRefusal(limit, window, wait) if wait else None

    def fail(self, now: int) -> None:
        self.spent = [*self.spent, now]
        self.count, self.last = self.count + 1, now


subjects = st.builds(
    Subject,
    st.sampled_from(sorted(TENANTS)),
    st.sampled_from([Factor.AUTHENTICATOR, Factor.RECOVERY_CODE]),
    st.sampled_from(["u-81", "u-82"]),
)
moves = st.one_of(
    st.tuples(st.just("fail"), subjects, st.integers(1, 6)),
    st.tuples(st.just("fail"), subjects, st.integers(1, 6)),
    st.tuples(st.just("succeed"), subjects),
    st.tuples(st.just("unlock"), subjects),
    st.tuples(st.just("wait"), st.integers(1, 120 * SECOND)),
    st.tuples(st.just("wait"), st.integers(1, 2 * HOUR)),
    st.tuples(st.just("wait"), st.integers(1, 2 * DAY)),
    st.tuples(st.just("wait until admitted"), subjects),
)


class FactorGame:
    """A store and a model of each subject, which must agree."""

    def __init__(self, client: ScriptClient) -> None:
        self.store = FrozenStore(client)
        self.models: dict[Subject, FactorModel] = {}

    def get_model(self, subject: Subject) -> FactorModel:
        return self.models.setdefault(subject, FactorModel())

    async def commit(self, subject: Subject, operation_id: str = "", **fields: Any) -> Any:
        partition = self.store.get_account_partition(subject.tenant, subject.account)
        operation_id = operation_id or secrets.token_hex(8)
        return await self.store.commit(
            Commit(partition=partition, operation_id=operation_id, **fields)
        )

    async def attempt(self, subject: Subject, operation_id: str = "") -> bool:
        """Charge an attempt, and compare the outcome with the model. Return whether it is charged."""
        model, now = self.get_model(subject), self.store.now
        expected = model.find_refusal(subject, now)
        outcome = await self.commit(subject, operation_id, charges=subject.build_charges())
        if expected:
            assert expected == outcome
            return False
        model.fail(now)
        assert isinstance(outcome, Committed)
        assert model.count == outcome.consecutive_failures
        return True

    async def succeed(self, subject: Subject) -> None:
        """Charge an attempt, take it back, and reset the consecutive failures."""
        operation_id, model = secrets.token_hex(8), self.get_model(subject)
        if await self.attempt(subject, operation_id):
            consecutive, failures = subject.build_charges()
            refunds = (Refund(failures, operation_id),)
            await self.commit(subject, refunds=refunds, reset_buckets=(consecutive.bucket,))
            model.spent.pop()
            model.count = model.last = 0

    async def unlock(self, subject: Subject) -> None:
        await self.commit(subject, reset_buckets=subject.list_buckets())
        self.models[subject] = FactorModel()

    def wait_until_admitted(self, subject: Subject) -> None:
        refusal = self.get_model(subject).find_refusal(subject, self.store.now)
        if isinstance(refusal, LimitRefusal):
            self.store.now += refusal.wait_ms


@settings(
    max_examples=30,
    deadline=None,
    # Each example has keys of its own, so it needs no empty Redis.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(moves, min_size=10, max_size=30))
async def test_each_factor_of_each_account_has_its_own_failures(
    script_client: ScriptClient, played: list[tuple[Any, ...]]
) -> None:
    """R16, R18, R19: decisions and waits, whatever happens at other factors, accounts and tenants."""
    game = FactorGame(script_client)
    for name, *how in played:
        match name:
            case "fail":
                for _ in range(how[1]):
                    await game.attempt(how[0])
            case "succeed":
                await game.succeed(how[0])
            case "unlock":
                await game.unlock(how[0])
            case "wait":
                game.store.now += how[0]
            case _:
                game.wait_until_admitted(how[0])
                await game.attempt(how[0])


async def test_a_day_admits_twenty_failures_of_an_account(script_client: ScriptClient) -> None:
    """R16: an attacker who waits as told, whatever the number of new enrolments."""
    game, subject = FactorGame(script_client), Subject("shop", Factor.AUTHENTICATOR, "u-81")
    began, charged = game.store.now, 0
    while game.store.now < began + DAY:
        charged += await game.attempt(subject)
        await game.commit(subject, reset_buckets=subject.list_buckets()[:1])  # no delays
        game.models[subject].count = game.models[subject].last = 0
        game.store.now += 1
        game.wait_until_admitted(subject)

    assert 20 == charged
