"""Recovery codes against a model: every outcome, with old and new tokens, by two workers.

Redis is emptied now and then. What then still holds is asserted without the rules of the service: a
code is never accepted with the newest token of its set again, and with no token until Redis is
emptied.
"""

from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core import errors
from otp_service.core.commit import Locked
from otp_service.core.factor import Factor
from otp_service.core.limits import (
    DEFAULT_LIMITS,
    Limit,
    LimitRefusal,
    compute_sliding_window_wait,
)
from otp_service.core.recovery_codes import CODE_COUNT
from otp_service.core.verify_replay import REPLAY_WINDOW_MS
from otp_service.schemas import CreateRecoveryCodesRequest, VerifyRecoveryCodeRequest
from otp_service.store.client import ScriptClient
from tests.installation import DAY_MS, HOUR_MS, MINUTE_MS
from tests.service.frozen_workers import FrozenWorkers
from tests.store.test_factor_limits import TENANTS, FactorModel, Subject


SUBJECT = Subject("shop", Factor.RECOVERY_CODE, "u-81")
WRONG_CODE = "0000-0000-0000-0000"


class Token(NamedTuple):
    """A token of a set, and the positions of the codes that it has."""

    text: str
    set_index: int
    left: frozenset[int]


class StoredAnswer(NamedTuple):
    fingerprint: tuple[int, str]
    answer: tuple[str, int]
    """The token, and the codes that are left."""
    expires_at: int


class Call(NamedTuple):
    """A verify; the position is None for a code of no set."""

    token: Token
    position: int | None
    code: str
    key: str | None

    @property
    def fingerprint(self) -> tuple[int, str]:
        return self.token.set_index, self.code


class RecoveryModel(FactorModel):
    """What the account may still try, what Redis has, and what was ever accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[tuple[str, ...]] = []
        self.tokens: list[Token] = []
        self.created_at: list[int] = []
        self.marks: dict[int, set[int]] = {}
        self.answers: dict[str, StoredAnswer] = {}

    def lose_redis(self) -> None:
        self.spent, self.count, self.last = [], 0, 0
        self.created_at, self.marks, self.answers = [], {}, {}

    def find_create_refusal(self, now: int) -> int:
        """Return the wait until another set may be created; 0 if it may now."""
        windows = DEFAULT_LIMITS[Limit.RECOVERY_SETS]
        return compute_sliding_window_wait(self.created_at, windows, 1, now)

    def predict(self, call: Call, now: int) -> tuple[Any, ...]:
        """Return the outcome of a call, and charge its failure."""
        answer = self.answers.get(call.key) if call.key else None
        if answer and now < answer.expires_at and answer.fingerprint == call.fingerprint:
            return ("repeated", *answer.answer)
        refusal = self.find_refusal(SUBJECT, now)
        if isinstance(refusal, Locked):
            return (errors.AccountLocked,)
        if answer and now < answer.expires_at:
            return (errors.IdempotencyKeyReused,)
        if isinstance(refusal, LimitRefusal):
            return errors.RateLimited, refusal.limit, refusal.retry_after
        return self.compare(call, now)

    def compare(self, call: Call, now: int) -> tuple[Any, ...]:
        marks = self.marks.setdefault(call.token.set_index, set())
        if call.position in marks:
            self.fail(now)
            return (errors.CodeAlreadyUsed,)
        if call.position not in call.token.left:
            self.fail(now)
            return (errors.IncorrectCode,)
        self.count = self.last = 0
        return ("accepted", len(call.token.left - marks) - 1)

    def record_success(self, call: Call, text: str, codes_left: int, now: int) -> None:
        """Store the token and the answer, and assert what holds without the rules."""
        assert call.position is not None
        marks = self.marks[call.token.set_index]
        assert call.position not in marks, "a code was accepted twice"
        marks.add(call.position)
        self.tokens.append(Token(text, call.token.set_index, call.token.left - marks))
        if call.key:
            answer = StoredAnswer(call.fingerprint, (text, codes_left), now + REPLAY_WINDOW_MS)
            self.answers[call.key] = answer


class RecoveryGame(FrozenWorkers):
    """Two workers and the model, which receive the same calls and must agree."""

    def __init__(self, client: ScriptClient) -> None:
        super().__init__(client, TENANTS["shop"].limits)
        self.model = RecoveryModel()

    async def create_set(self) -> None:
        """Create ten codes, or be refused as the model is."""
        service = self.workers[0].service.recovery_sets
        expected = self.model.find_create_refusal(self.now)
        try:
            request = CreateRecoveryCodesRequest(SUBJECT.account)
            created = await service.create_set(self.workers[0].build_caller(), request)
        except errors.RateLimited as error:
            refusal: tuple[str, int] | None = (error.limit, error.retry_after)
        else:
            refusal = None
            token = Token(created.token, len(self.model.codes), frozenset(range(CODE_COUNT)))
            self.model.codes.append(created.codes)
            self.model.tokens.append(token)
            self.model.created_at.append(self.now)
        assert refusal == ((Limit.RECOVERY_SETS, -(-expected // 1000)) if expected else None)

    def build_call(
        self, token: int, position: int | None, set_offset: int, key: str | None
    ) -> Call:
        """Return a call with the token, the newest first, and a code of its set or of another."""
        tokens = self.model.tokens
        chosen = tokens[-1 - token % len(tokens)]
        if position is None:
            return Call(chosen, None, WRONG_CODE, key)
        set_index = chosen.set_index
        if set_offset % len(self.model.codes):
            code = self.model.codes[set_index - set_offset][position]
            return Call(chosen, None, code, key)
        return Call(chosen, position, self.model.codes[set_index][position].lower(), key)

    async def play(self, call: Call, worker: int) -> None:
        """Send a call to a worker, and compare its outcome with that of the model."""
        expected = self.model.predict(call, self.now)
        outcome = await self.send(call, worker)
        if expected[0] == "repeated":
            assert expected[1:] == outcome
        elif expected[0] == "accepted" and isinstance(outcome[0], str):
            token, codes_left = outcome
            assert expected[1] == codes_left
            self.model.record_success(call, token, codes_left, self.now)
        else:
            assert expected == outcome

    async def send(self, call: Call, worker: int) -> tuple[Any, ...]:
        """Return the answer, or what was raised."""
        service = self.workers[worker].service.recovery_sets
        request = VerifyRecoveryCodeRequest(call.token.text, SUBJECT.account, call.code)
        caller = self.workers[worker].build_caller()
        try:
            answer = await service.verify_code(caller, request, call.key)
        except errors.RateLimited as error:
            return errors.RateLimited, error.limit, error.retry_after
        except errors.OtpError as error:
            return (type(error),)
        return answer.token, answer.codes_left

    def wait_until_admitted(self) -> None:
        refusal = self.model.find_refusal(SUBJECT, self.now)
        self.wait(refusal.wait_ms if isinstance(refusal, LimitRefusal) else 0)

    async def lose_redis(self) -> None:
        await self.empty_redis()
        self.model.lose_redis()


positions = st.integers(0, 3) | st.integers(0, CODE_COUNT - 1) | st.none()
calls = st.tuples(
    st.integers(0, 4), positions, st.sampled_from([0, 0, 1]),
    st.sampled_from([None, None, "key-1", "key-2"]),
)  # fmt: skip
moves = st.one_of(
    st.tuples(st.just("call"), calls, st.sampled_from([1, 1, 1, 7]), st.integers(0, 1)),
    st.tuples(st.just("call"), calls, st.just(1), st.integers(0, 1)),
    st.tuples(st.just("call"), calls, st.just(2), st.integers(0, 1)),
    st.tuples(st.just("patient call"), calls, st.sampled_from([1, 7]), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(1, MINUTE_MS)),
    st.tuples(st.just("wait"), st.integers(1, HOUR_MS)),
    st.tuples(st.just("wait"), st.integers(HOUR_MS, 2 * DAY_MS)),
    st.tuples(st.just("create"), st.sampled_from([1, 1, 6])),
    st.just(("lose redis",)),
)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(moves, min_size=8, max_size=40))
async def test_every_outcome_is_that_of_the_model(
    script_client: ScriptClient, played: list[tuple[Any, ...]]
) -> None:
    """A code is accepted once, by one worker, with whatever token of its set."""
    game = RecoveryGame(script_client)
    await game.empty_redis()
    await game.create_set()
    for name, *how in played:
        match name:
            case "call" | "patient call":
                chosen, times, worker = how
                for _ in range(times):
                    if name == "patient call":
                        game.wait_until_admitted()
                    await game.play(game.build_call(*chosen), worker)
            case "wait":
                game.wait(*how)
            case "create":
                for _ in range(how[0]):
                    await game.create_set()
            case _:
                await game.lose_redis()
