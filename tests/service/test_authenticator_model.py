"""The whole factor against a model: every outcome, by a clock that only the test moves.

Two workers with one Redis serve the calls of one account in turn. The model knows what was ever
accepted; the service knows what Redis has, and Redis is emptied now and then. So that a code is never
accepted twice is asserted without the rules of the service.
"""

import math
from typing import Any, NamedTuple

import pyotp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core import errors
from otp_service.core.authenticator import UNCONFIRMED_TTL_MS
from otp_service.core.commit import Locked
from otp_service.core.factor import Factor
from otp_service.core.limits import Limit, LimitRefusal
from otp_service.core.verify_replay import REPLAY_WINDOW_MS
from otp_service.schemas import ConfirmAuthenticatorRequest, VerifyAuthenticatorRequest
from otp_service.service.authenticator_service import CONFIRM_REPEAT_MS
from otp_service.store.client import ScriptClient
from tests.installation import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tests.service.app_user import PERIOD_MS, AppUser
from tests.service.frozen_workers import FrozenWorkers
from tests.store.test_factor_limits import TENANTS, FactorModel, Subject


REPEAT_MS = {"confirm": CONFIRM_REPEAT_MS, "verify": REPLAY_WINDOW_MS}
SUBJECT = Subject("shop", Factor.AUTHENTICATOR, "u-81")


class Token(NamedTuple):
    """A token of an authenticator, as the model knows it."""

    text: str
    authenticator: int
    created_at: int
    confirmed_step: int | None = None

    @property
    def is_active(self) -> bool:
        return self.confirmed_step is not None


class StoredAnswer(NamedTuple):
    fingerprint: tuple[object, ...]
    text: str
    expires_at: int


class Call(NamedTuple):
    """A confirm or a verify."""

    kind: str
    token: Token
    code: str
    key: str | None

    @property
    def fingerprint(self) -> tuple[object, ...]:
        return self.kind, self.token.authenticator, self.code


class AuthenticatorModel(FactorModel):
    """What the account may still try, what Redis has, and what was ever accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: list[str] = []
        self.tokens: list[Token] = []
        self.last_steps: dict[int, int] = {}
        self.answers: dict[tuple[str, str], StoredAnswer] = {}
        self.epoch: int | None = None
        self.accepted: dict[int, list[int]] = {}

    def lose_redis(self) -> None:
        self.spent, self.count, self.last = [], 0, 0
        self.last_steps, self.answers, self.epoch = {}, {}, None

    def list_matches(self, call: Call, now: int) -> list[int]:
        step, secret = now // PERIOD_MS, self.secrets[call.token.authenticator]
        return [s for s in (step - 1, step, step + 1) if pyotp.HOTP(secret).at(s) == call.code]

    def find_answer(self, call: Call, now: int) -> StoredAnswer | None:
        answer = self.answers.get((call.kind, call.key)) if call.key else None
        return answer if answer and now < answer.expires_at else None

    def predict(self, call: Call, now: int) -> tuple[Any, ...]:
        """Return the outcome of a call, and change what it changes."""
        answer, token = self.find_answer(call, now), call.token
        has_expired = not token.is_active and now >= token.created_at + UNCONFIRMED_TTL_MS
        if answer and answer.fingerprint == call.fingerprint:
            return self.end(now, "repeated", answer.text)
        if has_expired and not answer:
            return self.end(now, errors.InvalidAuthenticator)
        return self.charge(call, now) or self.compare(call, now)

    def charge(self, call: Call, now: int) -> tuple[Any, ...] | None:
        """Return what refuses a call before its code is compared."""
        refusal, is_verify = self.find_refusal(SUBJECT, now), call.kind == "verify"
        conflicts = (errors.AuthenticatorAlreadyConfirmed, errors.AuthenticatorNotConfirmed)
        if isinstance(refusal, Locked):
            return self.end(now, errors.AccountLocked)
        if call.token.is_active != is_verify:
            return self.end(now, conflicts[is_verify])
        if self.find_answer(call, now):
            return self.end(now, errors.IdempotencyKeyReused)
        if isinstance(refusal, LimitRefusal):
            return self.end(now, errors.RateLimited, refusal.limit, refusal.retry_after)
        return None

    def end(self, now: int, *outcome: Any) -> tuple[Any, ...]:
        """Return an outcome that is recorded: the first record begins the epoch."""
        if self.epoch is None:
            self.epoch = now
        return outcome

    def compare(self, call: Call, now: int) -> tuple[Any, ...]:
        self.end(now)
        assert self.epoch is not None
        matches, token = self.list_matches(call, now), call.token
        if not matches:
            self.fail(now)
            return (errors.IncorrectCode,)
        step = max(matches)
        used = [self.last_steps.get(token.authenticator), token.confirmed_step]
        if step <= max((s for s in used if s is not None), default=-1):
            self.fail(now)
            return (errors.CodeAlreadyUsed,)
        unknown_until = self.epoch // PERIOD_MS + 1
        if token.created_at < self.epoch and step <= unknown_until:
            wait_ms = (unknown_until + 1) * PERIOD_MS - now
            if wait_ms <= 0:
                self.fail(now)
                return (errors.CodeAlreadyUsed,)
            seconds = math.ceil(wait_ms / SECOND_MS)
            return errors.RateLimited, "CodesAfterDataLoss", seconds
        self.last_steps[token.authenticator] = step
        if call.kind == "verify":
            self.count = self.last = 0
        return "accepted", step

    def record_success(self, call: Call, step: int, text: str, now: int) -> None:
        """Store the answer, and assert what holds whatever Redis has forgotten."""
        authenticator = call.token.authenticator
        accepted = self.accepted.setdefault(authenticator, [])
        assert step > max(accepted, default=-1), "a code was accepted twice, or after a newer one"
        accepted.append(step)
        if call.kind == "confirm":
            token = call.token._replace(text=text, confirmed_step=step)
            self.tokens.append(token)
        if call.key:
            answer = StoredAnswer(call.fingerprint, text, now + REPEAT_MS[call.kind])
            self.answers[call.kind, call.key] = answer


class AuthenticatorGame(FrozenWorkers):
    """Two workers and the model, which receive the same calls and must agree."""

    def __init__(self, client: ScriptClient) -> None:
        super().__init__(client, TENANTS["shop"].limits)
        self.model = AuthenticatorModel()

    def wait_until_admitted(self) -> None:
        refusal = self.model.find_refusal(SUBJECT, self.now)
        self.wait(refusal.wait_ms if isinstance(refusal, LimitRefusal) else 0)

    async def enroll(self) -> None:
        """Create an authenticator; it is not confirmed yet."""
        created = await AppUser(self.workers[0], SUBJECT.account).create()
        self.model.end(self.now)
        self.model.secrets.append(created.base32_secret)
        index = len(self.model.secrets) - 1
        self.model.tokens.append(Token(created.token, index, self.now))

    def build_call(self, kind: str, token: int, offset: int | None, key: str | None) -> Call:
        """Return a call with the code of a step near the present one; None: of no step."""
        chosen = self.model.tokens[token % len(self.model.tokens)]
        app = pyotp.HOTP(self.model.secrets[chosen.authenticator])
        step = self.now // PERIOD_MS
        if offset is not None:
            return Call(kind, chosen, app.at(step + offset), key)
        near = {app.at(step + i) for i in range(-3, 4)}
        wrong = next(code for code in map("{:06d}".format, range(10)) if code not in near)
        return Call(kind, chosen, wrong, key)

    async def play(self, call: Call, worker: int) -> None:
        """Send a call to a worker, and compare its outcome with that of the model."""
        expected = self.model.predict(call, self.now)
        outcome = await self.send(call, worker)
        if expected[0] == "accepted" and isinstance(outcome[0], str):
            self.model.record_success(call, expected[1], outcome[0], self.now)
        elif expected[0] == "repeated":
            assert expected[1:] == outcome
        else:
            assert expected == outcome

    async def send(self, call: Call, worker: int) -> tuple[Any, ...]:
        """Return the token of the answer, or what was raised."""
        caller = self.workers[worker].build_caller()
        service = self.workers[worker].service.authenticators
        token, account, code = call.token.text, SUBJECT.account, call.code
        try:
            if call.kind == "verify":
                request = VerifyAuthenticatorRequest(token, account, code)
                return ((await service.verify(caller, request, call.key)).token,)
            confirm = ConfirmAuthenticatorRequest(token, account, code)
            return ((await service.confirm(caller, confirm, call.key)).token,)
        except errors.RateLimited as error:
            return errors.RateLimited, error.limit, error.retry_after
        except errors.OtpError as error:
            return (type(error),)

    async def lose_redis(self) -> None:
        await self.empty_redis()
        self.model.lose_redis()


def build_calls(offsets: st.SearchStrategy[int | None]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy for one call or several with the code of the step at an offset."""
    kinds = st.sampled_from(["verify", "verify", "verify", "confirm"])
    keys = st.sampled_from([None, None, "key-1", "key-2"])
    times = st.sampled_from([1, 1, 1, 1, 7])
    call = st.tuples(kinds, st.integers(0, 5), offsets, keys)
    return st.tuples(st.just("call"), call, times, st.booleans(), st.integers(0, 1))


moves = st.one_of(
    build_calls(st.integers(-2, 2)),
    build_calls(st.integers(-1, 1)),
    build_calls(st.just(0)),
    build_calls(st.none()),
    st.tuples(st.just("repeat"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(1, 2 * PERIOD_MS)),
    st.tuples(st.just("wait"), st.just(PERIOD_MS)),
    st.tuples(st.just("wait"), st.integers(1, 40 * MINUTE_MS)),
    st.tuples(st.just("wait"), st.integers(HOUR_MS, 2 * DAY_MS)),
    st.just(("enroll",)),
    st.just(("lose redis",)),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(moves, min_size=8, max_size=40))
async def test_every_outcome_is_that_of_the_model(
    script_client: ScriptClient, played: list[tuple[Any, ...]]
) -> None:
    """R46, R47: no code is accepted twice, by no worker, whatever Redis has lost."""
    game = AuthenticatorGame(script_client)
    await game.lose_redis()
    await game.enroll()
    await game.play(game.build_call("confirm", 0, 0, None), 0)
    last_call = game.build_call("verify", 1, 0, None)
    for name, *how in played:
        match name:
            case "call":
                chosen, times, is_patient, worker = how
                for _ in range(times):
                    if is_patient:
                        game.wait_until_admitted()
                    last_call = game.build_call(*chosen)
                    await game.play(last_call, worker)
            case "repeat":
                await game.play(last_call, *how)
            case "wait":
                game.wait(*how)
            case "enroll":
                await game.enroll()
            case _:
                await game.lose_redis()


def test_the_limits_of_the_model_are_those_of_the_service() -> None:
    """The default windows, with fewer failures in a row until the lock."""
    windows = TENANTS["shop"].limits[Limit.AUTHENTICATOR_FAILURES]

    assert ["5 in 10 min", "20 in 1 d"] == [str(window) for window in windows]
