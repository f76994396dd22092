"""Attacks on authenticator apps: replay, race, guess, forge, swap, roll back, over two workers."""

import itertools
import json
import shutil
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import (
    GatewayServer,
    HttpResponse,
    RunningService,
    build_request,
    run_service,
)
from tests.store import redis_servers


pytestmark = pytest.mark.slow

PERIOD_SECONDS = 30
CALLS_AT_ONCE = 30

CREATE_PATH = "/v1/authenticators"
CONFIRM_PATH = f"{CREATE_PATH}/confirm"
VERIFY_PATH = f"{CREATE_PATH}/verify"

LIMITED = {"rate-limited", "code-already-used"}
"""What may be answered to calls that are one too many."""


class AppUser:
    """A user of `shop` with an authenticator app, and the token in the user's row."""

    def __init__(self, service: RunningService, redis: EmbeddedServer, account: str) -> None:
        self.service, self.account = service, account
        self._redis = redis
        self.secret = ""
        self.unconfirmed_token = ""
        self.token = ""

    def create(self) -> None:
        """Start an enrolment."""
        created = self.service.send_request("POST", CREATE_PATH, body={"account": self.account})
        assert 201 == created.status, created.body
        self.secret, self.unconfirmed_token = created.json["secret"], created.json["authenticator"]

    def enroll(self) -> None:
        """Enroll with the code of the step before the present one, so that two codes are left."""
        self.create()
        wait_for_time_in_step(self._redis)
        confirmed = self.send(CONFIRM_PATH, self.read_code(-1), self.unconfirmed_token)
        assert 200 == confirmed.status, confirmed.body
        self.token = confirmed.json["authenticator"]

    def read_code(self, offset: int = 0) -> str:
        """Return what the app shows in the present step, or in one before or after it."""
        return pyotp.HOTP(self.secret).at(read_time(self._redis) // PERIOD_SECONDS + offset)

    def make_wrong_code(self) -> str:
        """Return a code of no step near the present one."""
        near = {self.read_code(offset) for offset in range(-3, 4)}
        return next(code for code in map("{:06d}".format, range(10)) if code not in near)

    def build_body(self, code: Any, token: str) -> dict[str, Any]:
        return {"authenticator": token, "account": self.account, "code": code}

    def send(self, path: str, code: Any, token: str, *, key: str = "", **more: Any) -> HttpResponse:
        headers = {"Idempotency-Key": key} if key else {}
        body = self.build_body(code, token)
        return self.service.send_request("POST", path, body=body, headers=headers, **more)

    def verify(self, code: Any, **more: Any) -> HttpResponse:
        return self.send(VERIFY_PATH, code, self.token, **more)

    def build_call(self, path: str, code: str, token: str, key: str = "") -> bytes:
        """Return the bytes of a request that another thread or process would send."""
        body, headers = self.build_body(code, token), {"Idempotency-Key": key} if key else {}
        api_key = self.service.keys["shop"]
        return build_request("POST", path, body=body, key=api_key, headers=headers)

    def count_events(self, name: str) -> int:
        """Return how many events of this type the account has, without repeats."""
        kind = f"authenticator.{name}"
        return sum(e["type"] == kind and not e.get("repeated") for e in self.list_events())

    def list_events(self) -> list[dict[str, Any]]:
        return self.service.send_request(
            "POST",
            "/v1/audit/search",
            by="security",
            body={"account": self.account, "limit": 1000},
        ).json["events"]


def read_time(redis: EmbeddedServer) -> int:
    """Return the seconds since 1970 by the clock of Redis."""
    with redis_servers.open_client(redis) as client:
        return int(client.time()[0])


def wait_for_time_in_step(redis: EmbeddedServer, seconds: int = 10) -> None:
    """Wait until the present step has so many seconds left, which a test needs for its calls."""
    left = PERIOD_SECONDS - read_time(redis) % PERIOD_SECONDS
    if left < seconds:
        time.sleep(left + 0.1)  # real time: the clock of Redis


def count_outcomes(answers: list[HttpResponse]) -> Counter[str]:
    """Count the responses by problem type, or by status where they have no problem type."""
    return Counter(answer.problem_type or str(answer.status) for answer in answers)


_account_counter = itertools.count()


@pytest.fixture
def create_user(service: RunningService, redis: EmbeddedServer) -> Callable[[], AppUser]:
    """Return a function that returns another user each time."""
    return lambda: AppUser(service, redis, f"attacked-{next(_account_counter)}")


@pytest.fixture
def user(create_user: Callable[[], AppUser]) -> AppUser:
    """Return a user with an active authenticator, of which two codes are left."""
    user = create_user()
    user.enroll()
    return user


# ------------------------------------------------------------------------------------------- races


async def test_of_thirty_uses_of_one_code_at_once_one_is_accepted(user: AppUser) -> None:
    """Two workers read the same last step: the compare-and-set of it decides."""
    call = user.build_call(VERIFY_PATH, user.read_code(), user.token)

    answers = await user.service.send_together([call] * CALLS_AT_ONCE)

    outcomes = count_outcomes(answers)
    assert 1 == outcomes.pop("200"), outcomes
    assert outcomes.keys() <= LIMITED, outcomes
    assert 1 == user.count_events("verified")


async def test_of_thirty_repeats_at_once_one_is_a_login_and_the_others_its_answer(
    user: AppUser,
) -> None:
    call = user.build_call(VERIFY_PATH, user.read_code(), user.token, key="try-1")

    answers = await user.service.send_together([call] * CALLS_AT_ONCE)

    outcomes = count_outcomes(answers)
    assert 1 <= outcomes.pop("200"), outcomes
    assert outcomes.keys() <= {"idempotency-key-in-use"}, outcomes  # the first call was running
    assert 1 == len({answer.body for answer in answers if answer.status == 200})
    assert 1 == user.count_events("verified")


async def test_of_two_codes_at_once_the_older_one_is_never_accepted_last(
    create_user: Callable[[], AppUser],
) -> None:
    """In any order of arrival: after the newer step, the older one is used."""
    for _ in range(4):
        user = create_user()
        user.enroll()
        older, newer = user.read_code(), user.read_code(1)
        calls = [user.build_call(VERIFY_PATH, code, user.token) for code in (older, newer)]

        await user.service.send_together(calls)

        assert "code-already-used" == user.verify(older).problem_type
        assert user.verify(newer).problem_type in {"code-already-used", "rate-limited"}
        assert 1 <= user.count_events("verified") <= 2


async def test_of_thirty_confirmations_at_once_one_is_accepted(
    create_user: Callable[[], AppUser], redis: EmbeddedServer
) -> None:
    user = create_user()
    user.create()
    wait_for_time_in_step(redis)
    call = user.build_call(CONFIRM_PATH, user.read_code(), user.unconfirmed_token)

    answers = await user.service.send_together([call] * CALLS_AT_ONCE)

    outcomes = count_outcomes(answers)
    assert 1 == outcomes.pop("200"), outcomes
    assert outcomes.keys() <= LIMITED, outcomes


# ------------------------------------------------------------------------------------------ guesses


async def test_thirty_enrolments_are_no_more_guesses_than_one(
    create_user: Callable[[], AppUser], redis: EmbeddedServer
) -> None:
    """The budget is that of the account: five comparisons, whichever token is tried."""
    user = create_user()
    calls = []
    for _ in range(CALLS_AT_ONCE):
        user.create()
        calls.append(user.build_call(CONFIRM_PATH, user.make_wrong_code(), user.unconfirmed_token))

    answers = await user.service.send_together(calls)

    assert {"incorrect-code": 5, "rate-limited": CALLS_AT_ONCE - 5} == count_outcomes(answers)
    limits = {answer.json.get("limit") for answer in answers if answer.status == 429}
    assert {"AuthenticatorFailuresPerAccount"} == limits
    wait_for_time_in_step(redis)
    right = user.send(CONFIRM_PATH, user.read_code(), user.unconfirmed_token)
    assert "rate-limited" == right.problem_type


def test_a_right_code_after_failures_gives_no_guesses_back(user: AppUser) -> None:
    """Only its own charge is refunded: an attacker who logs in too gets no fresh budget."""
    for _ in range(4):
        assert "incorrect-code" == user.verify(user.make_wrong_code()).problem_type
    assert 200 == user.verify(user.read_code()).status

    assert "incorrect-code" == user.verify(user.make_wrong_code()).problem_type
    assert "rate-limited" == user.verify(user.make_wrong_code()).problem_type


@pytest.mark.parametrize(
    "code",
    [
        *(
            "",
            " ",
            "12345",
            "1234567",
            "-------",
            "12345a",
            "0x1234",
            "1e5",
            "12345\n",
            "12345\x00",
        ),
        *("\uff11\uff12\uff13\uff14\uff15\uff16", "\u0661\u0662\u0663\u0664\u0665\u0666"),
        *(123456, True, None, 1.5, ["123456"], {"code": "123456"}),
    ],
    ids=repr,
)
def test_a_malformed_code_is_never_compared(user: AppUser, code: Any) -> None:
    """It costs nothing: five of them, and the right code is accepted."""
    for _ in range(6):
        refused = user.verify(code)
        assert 400 == refused.status, refused.body

    assert 200 == user.verify(user.read_code()).status


def test_a_code_in_digits_of_another_script_is_not_the_code(user: AppUser) -> None:
    """pyotp's own comparison normalizes full-width digits."""
    code = user.read_code()
    for zero in "\uff10\u0660\u0966\U0001d7ce":
        other = "".join(chr(ord(zero) + int(digit)) for digit in code)
        assert "malformed-code" == user.verify(other).problem_type

    assert 200 == user.verify(code).status


@pytest.mark.parametrize("size", [7, 1000, 15_000, 100_000])
def test_a_code_of_any_length_is_refused(user: AppUser, size: int) -> None:
    for code in ("1" * size, user.read_code() + " " * size):
        refused = user.verify(code)
        accepts_spaces = code.endswith(" ") and refused.status == 200
        assert refused.status in {400, 413} or accepts_spaces, refused.body


# ------------------------------------------------------------------------------------------- tokens


def decode_token(token: str) -> bytes:
    text = token.partition(".")[2]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode_token(data: bytes, kind: str = "a1") -> str:
    return f"{kind}.{urlsafe_b64encode(data).rstrip(b'=').decode()}"


def list_altered_tokens(token: str) -> Iterator[str]:
    """Yield the token with a bit flipped in each byte, cut at each length, and written otherwise."""
    data = decode_token(token)
    for index in range(len(data)):
        flipped = bytearray(data)
        flipped[index] ^= 1 << index % 8
        yield encode_token(bytes(flipped))
        yield encode_token(data[:index])
    yield from (token + "=", token + "A", token[:-1], f" {token}", f"{token}\n", token.upper())
    yield from (encode_token(data, kind) for kind in ("r1", "a2", "A1", "", "a1.a1"))
    yield from (".", "a1", "a1.", "\x00", "\U0001f600", "a1." + "A" * 10_000)


def test_an_altered_token_is_invalid_and_never_an_error(user: AppUser) -> None:
    """Every one is answered alike, costs no attempt, and the right token still works."""
    code = user.read_code()
    bodies = set()
    for token in list_altered_tokens(user.token):
        for path in (VERIFY_PATH, CONFIRM_PATH):
            refused = user.send(path, code, token)
            assert (422, "invalid-authenticator") == (refused.status, refused.problem_type), token
            bodies.add(json.dumps(refused.json | {"instance": "", "request_id": ""}))
    assert 1 == len(bodies)

    assert user.verify(user.read_code(1)).status == 200
    assert "Traceback" not in user.service.read_complete_log()


def test_a_token_works_for_its_own_tenant_and_account_alone(
    user: AppUser, create_user: Callable[[], AppUser]
) -> None:
    """An attacker who can write to the caller's database puts an own token into another row."""
    other = create_user()
    other.enroll()
    code = user.read_code()

    swapped = [
        user.verify(code, by="bank"),
        other.send(VERIFY_PATH, code, user.token),
        user.send(VERIFY_PATH, other.read_code(), other.token),
        user.send(CONFIRM_PATH, code, other.unconfirmed_token),
    ]

    assert {"invalid-authenticator": 4} == count_outcomes(swapped)
    assert 200 == user.verify(code).status


HOURS_AHEAD = 1
SHIFTED_CLOCK = f"""
import time
real_time, real_time_ns = time.time, time.time_ns
time.time = lambda: real_time() + {HOURS_AHEAD * 3600}
time.time_ns = lambda: real_time_ns() + {HOURS_AHEAD * 3600 * 10**9}
"""


@pytest.fixture(scope="module")
def other_installation(
    gateway: GatewayServer, redis: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """Return a service with other keys on the same Redis, on a host whose clock is wrong."""
    folder = tmp_path_factory.mktemp("other")
    with run_service(
        folder, redis, [gateway.url], workers=1, sitecustomize=SHIFTED_CLOCK
    ) as service:
        yield service


def test_a_token_of_another_installation_is_invalid(
    user: AppUser, redis: EmbeddedServer, other_installation: RunningService
) -> None:
    """It has keys of its own, although the key has the same id, and the tenant the same name."""
    other = AppUser(other_installation, redis, user.account)

    answer = other.send(VERIFY_PATH, "123456", user.token)

    assert "invalid-authenticator" == answer.problem_type


def test_an_unconfirmed_token_verifies_nothing(create_user: Callable[[], AppUser]) -> None:
    user = create_user()
    user.create()

    refused = user.send(VERIFY_PATH, user.read_code(), user.unconfirmed_token)

    assert "authenticator-not-confirmed" == refused.problem_type


# ------------------------------------------------------------------------------------------ replays


def test_a_code_is_accepted_once_and_never_an_older_one(user: AppUser) -> None:
    """Each call has a connection of its own, so both workers answer."""
    confirming, present, ahead = (user.read_code(offset) for offset in (-1, 0, 1))
    assert "code-already-used" == user.verify(confirming).problem_type
    assert 200 == user.verify(ahead).status

    for code in (present, ahead, confirming):
        assert "code-already-used" == user.verify(code).problem_type
    assert 1 == user.count_events("verified")
    assert 4 == user.count_events("replayed")


def test_an_older_token_of_an_account_has_the_same_steps(user: AppUser) -> None:
    """A row that is restored from a backup gives no code back."""
    code = user.read_code()
    again = user.send(CONFIRM_PATH, code, user.unconfirmed_token)
    assert 200 == again.status
    older, newer = user.token, again.json["authenticator"]

    for token in (older, newer):
        assert "code-already-used" == user.send(VERIFY_PATH, code, token).problem_type


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """Return a Redis that a test may destroy."""
    with redis_servers.start_server(
        tmp_path / "redis", port=redis_servers.find_free_port()
    ) as server:
        yield server


def restart_after_crash(redis: EmbeddedServer, service: RunningService) -> None:
    """Kill Redis, and start it again with its files."""
    redis_servers.kill_server(redis)
    redis.stop()
    redis.start()
    redis_servers.wait_until(service.is_ready, description="readiness")


def restart_empty(redis: EmbeddedServer, service: RunningService) -> None:
    """Kill Redis, and start it again without its files."""
    redis_servers.kill_server(redis)
    redis.stop()
    shutil.rmtree(redis.data)
    redis.start()
    redis_servers.wait_until(service.is_ready, description="readiness")


def test_nothing_can_be_replayed_after_redis_crashed_or_was_restarted_empty(
    own_redis: EmbeddedServer, gateway: GatewayServer, tmp_path: Path
) -> None:
    """Neither a code that was accepted nor one that may have been: also that of the next step.

    A power cut loses at most a second of the file: then the code is refused as too early.
    """
    with run_service(tmp_path / "service", own_redis, [gateway.url], workers=2) as service:
        user = AppUser(service, own_redis, "u-1")
        user.enroll()
        code = user.read_code(1)
        assert 200 == user.verify(code).status

        restart_after_crash(own_redis, service)
        assert user.verify(code).problem_type in {"rate-limited", "code-already-used"}

        restart_empty(own_redis, service)
        codes = [user.read_code(offset) for offset in (-1, 0, 1)]
        outcomes = count_outcomes([user.verify(code) for code in codes * 4])

        assert outcomes.keys() <= {"rate-limited", "code-already-used", "incorrect-code"}
        assert 4 <= outcomes["rate-limited"], outcomes
        assert not user.count_events("verified")


def find_last_steps(redis: EmbeddedServer) -> dict[bytes, bytes]:
    """Return the records of last steps, by key name."""
    with redis_servers.open_client(redis) as client:
        return {name: client.get(name) for name in client.scan_iter("*:authenticator:*")}


def write_records(redis: EmbeddedServer, records: dict[bytes, bytes]) -> None:
    with redis_servers.open_client(redis) as client:
        for name, record in records.items():
            client.set(name, record)


def test_a_worker_refuses_a_last_step_that_was_restored_or_copied(
    redis: EmbeddedServer, other_installation: RunningService
) -> None:
    """An attacker who can write to Redis: an older record, that of another user, and a bit.

    A worker remembers the versions that it has seen. A record that is deleted is not noticed: its
    code can then be used again while it is in the window.
    """
    user, other = (AppUser(other_installation, redis, f"u-{name}") for name in ("1", "2"))
    (older,) = enroll_and_find_last_step(user, redis).items()
    ((_, others),) = enroll_and_find_last_step(other, redis).items()
    code = user.read_code()
    assert 200 == user.verify(code).status
    newest = find_last_steps(redis)[older[0]]

    for forged in (older[1], others, newest[:-1] + bytes([newest[-1] ^ 1])):
        write_records(redis, {older[0]: forged})
        assert "store-unavailable" == user.verify(code).problem_type
    assert other_installation.fetch_events(type="store.tampered")
    write_records(redis, {older[0]: newest})
    assert "code-already-used" == user.verify(code).problem_type


def enroll_and_find_last_step(user: AppUser, redis: EmbeddedServer) -> dict[bytes, bytes]:
    """Enroll a user, and return the record that was added, by its key name."""
    known = find_last_steps(redis)
    user.enroll()
    return {name: step for name, step in find_last_steps(redis).items() if name not in known}


# ------------------------------------------------------------------------------------------- clocks


def test_the_clock_of_the_host_has_no_effect(
    redis: EmbeddedServer, other_installation: RunningService
) -> None:
    """Redis has the time: a worker whose clock is an hour off accepts and refuses the same codes."""
    user = AppUser(other_installation, redis, "u-clock")
    user.enroll()
    shifted_code = user.read_code(HOURS_AHEAD * 3600 // PERIOD_SECONDS)

    assert "incorrect-code" == user.verify(shifted_code).problem_type
    assert 200 == user.verify(user.read_code()).status
