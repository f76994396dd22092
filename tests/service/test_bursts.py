"""A burst of issues: a person who holds a code is not kept out by it."""

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from otp_service.core.admission import AdmissionControl
from otp_service.core.argon2_profile import TEST_PROFILE
from otp_service.core.codes import generate_code
from otp_service.core.commit import ChallengeSnapshot, Commit
from otp_service.core.errors import (
    DeliveryFailed,
    IncorrectCode,
    Overloaded,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import Limit, LimitTable, Window
from otp_service.core.ports import HashPriority
from otp_service.core.prepared_codes import HashedCode
from otp_service.hashing import compute_argon2id
from tests.installation import (
    PROVIDER_REFUSAL,
    SECOND_MS,
    CountingHasher,
    Installation,
    gather_results,
    make_wrong_code,
)


SALT = b"sixteen bytes!!!"

NUMBERS = [f"+4474001234{i:02d}" for i in range(30)]


class HeldCode(str):
    """A code on which argon2 waits until `released` is set."""

    __slots__ = ()
    released: threading.Event

    def encode(self, *_: Any) -> bytes:
        assert self.released.wait(30)
        return b""


class OrderHasher(CountingHasher):
    """Lists the hashes in the order in which they end, which is that in which its one thread takes them."""

    def __init__(self) -> None:
        super().__init__(workers=1)
        self.ended: list[HashPriority] = []

    async def compute_argon2id(self, *arguments: Any, **more: Any) -> bytes:
        argon2_hash = await super().compute_argon2id(*arguments, **more)
        self.ended.append(more.get("priority", HashPriority.ISSUE))
        return argon2_hash


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110  # calls wait for Redis, whose time cannot be moved
            await asyncio.sleep(0.005)


async def test_a_verify_is_computed_before_the_issues_that_wait(
    installation: Installation,
) -> None:
    """Also if all of them came first: no issue that waits for a thread is done before it."""
    issued = await installation.issue("+447400129999")
    code = installation.router.extract_code()
    hasher, release = OrderHasher(), threading.Event()
    busy = installation.restart(hasher=hasher)
    HeldCode.released = release
    held = asyncio.create_task(hasher.compute_argon2id(HeldCode("x"), SALT))

    burst = [asyncio.create_task(busy.issue(number)) for number in NUMBERS]
    await wait_until(lambda: hasher.hash_count == 1 + len(burst))
    verify = asyncio.create_task(busy.verify(issued, code))
    await wait_until(lambda: hasher.hash_count == 1 + len(burst) + 1)
    release.set()
    await asyncio.gather(verify, held, *burst)

    assert 1 == hasher.ended.index(HashPriority.VERIFY)


async def test_a_full_gate_of_issues_does_not_refuse_a_verify(installation: Installation) -> None:
    issued = await installation.issue()
    code = installation.router.extract_code()
    full = installation.restart(hash_slots=AdmissionControl(0, 0))

    for answer in await gather_results(*(full.issue(number) for number in NUMBERS)):
        assert isinstance(answer, Overloaded)
    with pytest.raises(IncorrectCode):
        await full.verify(issued, make_wrong_code(code))
    await full.verify(issued, code)


async def test_a_full_gate_of_verifies_refuses_before_anything_is_charged(
    installation: Installation,
) -> None:
    """R13: a 503 costs nothing, and no attempt of the person."""
    issued = await installation.issue()
    full = installation.restart(verify_slots=AdmissionControl(0, 0))

    for _ in range(20):
        with pytest.raises(Overloaded):
            await full.verify(issued, "000000")

    await full.issue(NUMBERS[0])
    await installation.verify(issued, installation.router.extract_code(0))


STOCK_SIZE = 40

WIDE_WINDOWS = (Window(10_000, 3600),)

WIDE_LIMITS = (
    Limit.SENDS_PREFIX,
    Limit.SENDS_PREFIX_TENANT,
    Limit.SENDS_ACCOUNT,
    Limit.SENDS_ADDRESS,
)

REFUSING_LIMITS = (
    Limit.SENDS_TENANT,
    Limit.SENDS_ADDRESS,
    Limit.SENDS_ACCOUNT,
    Limit.SENDS_NUMBER,
    Limit.SENDS_PREFIX,
    Limit.SENDS_COUNTRY,
    Limit.SENDS_OVERALL,
)


def set_limits(installation: Installation, limits: LimitTable) -> None:
    """Replace limits of the tenant `shop`; a burst of one person or prefix is admitted."""
    wide = dict.fromkeys(WIDE_LIMITS, WIDE_WINDOWS)
    shop = installation.tenants["shop"]
    shop = msgspec.structs.replace(shop, limits={**shop.limits, **wide, **limits})
    installation.tenants["shop"] = shop


def prepare_codes(installation: Installation, count: int = STOCK_SIZE) -> list[HashedCode]:
    """Add codes to the stock of an installation and return them."""
    random, codes = installation.dependencies.random, []
    for _ in range(count):
        code, salt = generate_code(random.randbelow, 6), random.token_bytes(16)
        codes.append(HashedCode(code, salt, compute_argon2id(TEST_PROFILE, code, salt)))
        installation.dependencies.prepared_codes.add(codes[-1])
    return codes


def take_all(installation: Installation) -> list[HashedCode]:
    """Take every code that no call has reserved."""
    codes = []
    while reservation := installation.dependencies.prepared_codes.reserve(6, TEST_PROFILE):
        code = reservation.take()
        assert code
        codes.append(code)
    return codes


async def read_salts(installation: Installation, issued: list[ChallengeSnapshot]) -> list[bytes]:
    salts = []
    for one in issued:
        stored = await installation.store.fetch_challenge(
            "shop", installation.get_challenge_id(one)
        )
        assert stored.secret
        salts.append(stored.secret.salt)
    return salts


async def test_of_a_burst_each_issue_has_a_code_of_its_own(installation: Installation) -> None:
    """As many as are prepared need no argon2; the others are hashed, and every code verifies."""
    set_limits(installation, {})
    prepared, before = prepare_codes(installation), installation.hasher.hash_count
    numbers = [f"+44740012{i:04d}" for i in range(STOCK_SIZE + 20)]

    issued = await asyncio.gather(*map(installation.issue, numbers))

    assert before + 20 == installation.hasher.hash_count
    salts = await read_salts(installation, issued)
    assert len(numbers) == len(set(salts))
    assert {code.salt for code in prepared} < set(salts)
    assert [] == take_all(installation)
    by_number = {message.to.e164: message.code for message in installation.router.messages}
    used = {code.salt: code.code for code in prepared}
    for one, number, salt in zip(issued, numbers, salts, strict=True):
        assert by_number[number] == used.get(salt, by_number[number])
        await installation.verify(one, by_number[number])


async def test_an_issue_with_a_prepared_code_needs_no_slot(installation: Installation) -> None:
    """Also if the gate of argon2 is full: the next one without a code is refused."""
    full = installation.restart(hash_slots=AdmissionControl(0, 0))
    prepare_codes(full, 1)

    await full.issue(NUMBERS[0])

    with pytest.raises(Overloaded):
        await full.issue(NUMBERS[1])


@pytest.mark.parametrize("limit", REFUSING_LIMITS)
async def test_issues_that_are_refused_leave_the_stock_full(
    installation: Installation, limit: Limit
) -> None:
    """1,050 issues, 150 of each kind of limit. They run no argon2 either."""
    set_limits(installation, {limit: (Window(1, 3600),)})
    person = {"account": "u-1", "client_ip": "203.0.113.9"}
    await installation.issue("+447400120000", **person)
    installation.advance_clock(31 * SECOND_MS)
    prepared, before = prepare_codes(installation), installation.hasher.hash_count
    is_same_number = limit is Limit.SENDS_NUMBER
    numbers = [f"+44740012{0 if is_same_number else i:04d}" for i in range(150)]

    answers = []
    for i in range(0, len(numbers), 30):  # fewer at once than there are codes
        calls = (installation.issue(one, **person) for one in numbers[i : i + 30])
        answers += await gather_results(*calls)

    assert {RateLimited} == set(map(type, answers))
    assert {limit} == {answer.limit for answer in answers}
    assert before == installation.hasher.hash_count
    assert prepared == take_all(installation)


@pytest.mark.parametrize("failure", ["store", "provider", "canceled"])
async def test_a_code_that_was_taken_never_returns(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """It may have been stored or sent, whatever the caller is told."""
    prepared = prepare_codes(installation)
    if failure == "provider":
        installation.router.queue_replies(PROVIDER_REFUSAL)
    elif failure == "store":
        monkeypatch.setattr(installation.store, "commit", fail_issue(installation.store.commit))
    else:
        installation.router.on_send = asyncio.Event().wait

    with pytest.raises((StoreUnavailable, DeliveryFailed, TimeoutError)):
        await asyncio.wait_for(installation.issue(), 2)
    await installation.dependencies.refunds.drain(5)

    assert prepared[1:] == take_all(installation)


def fail_issue(commit: Callable[[Commit], Awaitable[Any]]) -> Callable[[Commit], Awaitable[Any]]:
    """Return a commit whose reply is lost where a challenge is stored."""

    async def lose_reply(one: Commit) -> Any:
        outcome = await commit(one)
        if one.swap and one.swap.old is None:
            raise StoreUnavailable
        return outcome

    return lose_reply


async def test_canceled_issues_give_up_the_codes_that_they_reserved(
    installation: Installation,
) -> None:
    """Wherever they are: a code is either taken, or free for the next call."""
    set_limits(installation, {})
    prepared = prepare_codes(installation)
    numbers = [f"+44740012{i:04d}" for i in range(STOCK_SIZE)]
    calls = [asyncio.create_task(installation.issue(number)) for number in numbers]
    for i, call in enumerate(calls):
        await asyncio.sleep(0.002 * (i % 3))  # the calls are at different steps
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)

    rest = take_all(installation)
    assert 0 == len(installation.dependencies.prepared_codes)
    assert rest == prepared[len(prepared) - len(rest) :]
    sent = [answer for answer in answers if isinstance(answer, ChallengeSnapshot)]
    assert len(sent) <= STOCK_SIZE - len(rest)


async def test_a_code_is_hashed_under_the_pepper_in_force_when_it_is_issued(
    installation: Installation,
) -> None:
    """So the stock holds nothing that a rotation of the pepper would have to change."""
    prepare_codes(installation, 1)
    stock = installation.dependencies.prepared_codes
    newer = Key("2", secrets.token_bytes(32))
    keys = msgspec.structs.replace(
        installation.keys, pepper=KeyRing((newer, *installation.keys.pepper))
    )
    rotated = installation.restart(keys=keys, prepared_codes=stock)

    issued = await rotated.issue()

    stored = await rotated.store.fetch_challenge("shop", rotated.get_challenge_id(issued))
    assert stored.secret
    assert ["2"] == [code.pepper_id for code in stored.secret.codes]
    await rotated.verify(issued, rotated.router.extract_code())


async def test_a_resend_takes_no_prepared_code(installation: Installation) -> None:
    """One run of argon2 compares all codes of a challenge, so they share its salt."""
    issued = await installation.issue()
    prepared = prepare_codes(installation)
    installation.advance_clock(31 * SECOND_MS)

    await installation.resend(issued)

    await installation.verify(issued, installation.router.extract_code())
    assert prepared == take_all(installation)
