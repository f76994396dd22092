"""Guesses at one account: ten in any hour, of which a part is kept back for known addresses."""

from collections.abc import Iterable, Iterator
from itertools import count, cycle
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.errors import (
    AccountLocked,
    IncorrectCode,
    NumberLocked,
    OtpError,
    RateLimited,
    StoreTampered,
)
from otp_service.core.keys import KeyRing, ServiceKeys
from otp_service.core.known_addresses import Account
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from tests.installation import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Installation,
    generate_keys,
    make_wrong_code,
)


ACCOUNT, OTHER_ACCOUNT = Account("shop", "u-81"), Account("shop", "u-82")
NO_ACCOUNT = Account("shop", "")
HOME, OFFICE, ATTACKER = "203.0.113.9", "198.51.100.7", "192.0.2.66"
NUMBER = "+447400123456"
NUMBERS = (f"+4474001{i:05d}" for i in count())
"""Numbers of the account, each used once, so that no limit of a number refuses."""
RECORDS = "*:addresses:*"


@pytest.fixture
def installation(installation: Installation) -> Installation:
    """Return an installation at which only failures are limited."""
    set_limits(installation)
    return installation


def set_limits(installation: Installation, **changes: tuple[Window, ...]) -> None:
    """Set limits by their names."""
    free = (limit for limit in Limit if limit.startswith(("Sends", "Cooldown")))
    limits = {**DEFAULT_LIMITS, **dict.fromkeys(free, (Window(1000, 1),))}
    limits |= {Limit(name): windows for name, windows in changes.items()}
    for name, tenant in installation.tenants.items():
        installation.tenants[name] = msgspec.structs.replace(tenant, limits=limits)


async def try_code(
    installation: Installation,
    address: str | None,
    number: str | None = None,
    account: Account = ACCOUNT,
    *,
    is_right: bool = False,
) -> OtpError | None:
    """Start a login, and enter a code from an address. Return what refuses it."""
    fields: dict[str, Any] = {"tenant": account.tenant, "client_ip": address}
    issued = await installation.issue(
        number or next(NUMBERS), account=account.name or None, **fields
    )
    code = installation.router.extract_code()
    try:
        await installation.verify(issued, code if is_right else make_wrong_code(code), **fields)
    except OtpError as error:
        return error
    return None


async def log_in(installation: Installation, address: str | None, *rest: Any) -> None:
    assert None is await try_code(installation, address, *rest, is_right=True)


async def guess(
    installation: Installation, addresses: Iterable[str | None], *rest: Any
) -> list[bool]:
    """Enter a wrong code from each address in turn. Return which of them were compared."""
    refusals = [await try_code(installation, address, *rest) for address in addresses]
    assert all(isinstance(error, IncorrectCode | RateLimited) for error in refusals)
    return [isinstance(error, IncorrectCode) for error in refusals]


def list_unknown_addresses(length: int) -> Iterator[str]:
    return (f"192.0.2.{i}" for i in range(length))


def count_most_in_an_hour(instants: list[int]) -> int:
    """Return the most instants in any period of one hour; the hour excludes its end."""
    return max((sum(a <= b < a + HOUR_MS for b in instants) for a in instants), default=0)


async def test_an_account_has_ten_guesses_in_any_hour(installation: Installation) -> None:
    """R17: a burst of ten is followed by none until an hour after the first of them."""
    compared_at: list[int] = []
    for minute in range(0, 130, 5):
        compared = await guess(installation, [None] * (10 if minute == 0 else 1))
        compared_at += [minute * MINUTE_MS for was_compared in compared if was_compared]
        installation.advance_clock(5 * MINUTE_MS)

    assert 10 == count_most_in_an_hour(compared_at)
    assert [0] * 10 == compared_at[:10]
    assert HOUR_MS == compared_at[10]


# ------------------------------------------------------------------------------ the kept part


async def test_a_known_address_gets_in_after_the_guesses_of_unknown_ones(
    installation: Installation,
) -> None:
    """ASVS 6.1.1: eight of the ten are for all, and the owner's code is accepted after them."""
    await log_in(installation, HOME)

    assert [True] * 8 + [False] * 2 == await guess(installation, list_unknown_addresses(10))

    refused = await try_code(installation, ATTACKER, is_right=True)
    assert isinstance(refused, RateLimited)
    assert (Limit.FAILURES_ACCOUNT, 8) == (refused.limit, refused.quota)
    await log_in(installation, HOME)


async def test_the_owner_gets_in_at_the_number_that_was_guessed_at(
    installation: Installation,
) -> None:
    """The attacker at the owner's login uses up the failures of the number too."""
    await log_in(installation, HOME, NUMBER)

    await guess(installation, [ATTACKER] * 10, NUMBER)

    await log_in(installation, HOME, NUMBER)


async def test_a_known_address_may_mistype_its_code(installation: Installation) -> None:
    """The kept part is two: one wrong code does not end it, two do, for an hour."""
    await log_in(installation, HOME)
    await guess(installation, [ATTACKER] * 8)

    assert [True] == await guess(installation, [HOME])
    await log_in(installation, HOME)
    assert [True, False] == await guess(installation, [HOME] * 2)
    assert isinstance(await try_code(installation, HOME, is_right=True), RateLimited)
    installation.advance_clock(HOUR_MS)
    await log_in(installation, HOME)


@pytest.mark.parametrize(
    "other", ["2001:db8:1:2:ffff::1", "2001:db8:1:2::abcd"], ids=["far", "near"]
)
async def test_the_network_of_an_ipv6_address_is_known(
    installation: Installation, other: str
) -> None:
    """The addresses of a /64 count as one, as in other limits."""
    await log_in(installation, "2001:db8:1:2::1")

    await guess(installation, [ATTACKER] * 8)

    assert isinstance(await try_code(installation, "2001:db8:1:3::1", is_right=True), RateLimited)
    await log_in(installation, other)


async def test_an_account_without_a_known_address_has_ten_for_all(
    installation: Installation,
) -> None:
    assert [True] * 10 + [False] == await guess(installation, list_unknown_addresses(11))
    assert isinstance(await try_code(installation, HOME, is_right=True), RateLimited)


async def test_an_attempt_without_an_address_may_use_all(installation: Installation) -> None:
    """Nothing shows whether it is known, so it counts as before."""
    await log_in(installation, HOME)

    assert [True] * 10 + [False] == await guess(installation, [None] * 11)


@pytest.mark.parametrize(("address", "account"), [(None, ACCOUNT), (HOME, NO_ACCOUNT)])
async def test_without_account_or_address_nothing_becomes_known(
    installation: Installation, address: str | None, account: Account
) -> None:
    await log_in(installation, address, None, account)

    assert [] == await installation.list_keys(RECORDS)
    assert [True] * 10 + [False] == await guess(installation, list_unknown_addresses(11))


@pytest.mark.parametrize("account", [OTHER_ACCOUNT, Account("bank", ACCOUNT.name)])
async def test_an_address_is_no_proof_for_another_account_or_tenant(
    installation: Installation, account: Account
) -> None:
    await log_in(installation, HOME)
    await log_in(installation, OFFICE, None, account)

    compared = await guess(installation, list_unknown_addresses(10), None, account)

    assert [True] * 8 + [False] * 2 == compared
    refused = await try_code(installation, HOME, None, account, is_right=True)
    assert isinstance(refused, RateLimited)
    await log_in(installation, OFFICE, None, account)


async def test_a_wrong_code_makes_no_address_known(installation: Installation) -> None:
    await log_in(installation, HOME)

    assert [True] * 8 + [False] * 2 == await guess(installation, [ATTACKER] * 10)


async def test_two_addresses_are_known_and_each_for_ninety_days(
    installation: Installation,
) -> None:
    await log_in(installation, HOME)
    installation.advance_clock(DAY_MS)
    await log_in(installation, OFFICE)
    await guess(installation, [ATTACKER] * 8)
    await log_in(installation, HOME)
    await log_in(installation, OFFICE)
    installation.advance_clock(DAY_MS)
    await log_in(installation, OFFICE)
    installation.advance_clock(89 * DAY_MS)

    await guess(installation, [ATTACKER] * 8)

    assert isinstance(await try_code(installation, HOME, is_right=True), RateLimited)
    await log_in(installation, OFFICE)


async def test_a_small_limit_keeps_one_back_and_a_limit_of_one_nothing(
    installation: Installation,
) -> None:
    set_limits(installation, FailuresPerAccount=(Window(2, 3600),))
    await log_in(installation, HOME)
    assert [True, False] == await guess(installation, [ATTACKER] * 2)
    await log_in(installation, HOME)

    set_limits(installation, FailuresPerAccount=(Window(1, 3600),))
    installation.advance_clock(HOUR_MS)
    assert [True, False] == await guess(installation, [ATTACKER, HOME])


async def test_a_part_of_a_smaller_limit_of_the_number_is_kept_back(
    installation: Installation,
) -> None:
    """The number refuses before the account does: its last failure is for a known address."""
    set_limits(installation, FailuresPerNumber=(Window(5, 3600),))
    await log_in(installation, HOME, NUMBER)

    assert [True] * 4 + [False] == await guess(installation, [ATTACKER] * 5, NUMBER)

    await log_in(installation, HOME, NUMBER)


async def test_what_was_verified_for_one_number_is_no_proof_for_another(
    installation: Installation,
) -> None:
    """An attacker with an own account may name the number of a victim there."""
    set_limits(installation, FailuresPerNumber=(Window(5, 3600),))
    await log_in(installation, ATTACKER, next(NUMBERS), OTHER_ACCOUNT)
    await log_in(installation, HOME, NUMBER)

    compared = await guess(installation, [ATTACKER] * 5, NUMBER, OTHER_ACCOUNT)

    assert [True] * 4 + [False] == compared
    await log_in(installation, HOME, NUMBER)


# --------------------------------------------------------------------------- no further guess

moves = st.tuples(
    st.sampled_from([HOME, OFFICE, ATTACKER, "192.0.2.67", None]),
    st.integers(0, 1),
    st.integers(0, 7).map(lambda drawn: drawn == 7),
    st.sampled_from([0, 0, 0, SECOND_MS, 31 * SECOND_MS, 7 * MINUTE_MS, 31 * MINUTE_MS]),
)
"""From where, for which of two numbers, whether with the right code, and the pause after it."""


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(moves, min_size=25, max_size=50))
async def test_no_mix_of_addresses_gets_more_than_ten_guesses_in_any_hour(
    installation: Installation, played: list[tuple[Any, ...]]
) -> None:
    """Whatever is known meanwhile: ten at the account, and ten at each number."""
    numbers = next(NUMBERS), next(NUMBERS)
    account = Account("shop", f"account of {numbers[0]}")
    await log_in(installation, HOME, numbers[0], account)
    compared: list[tuple[int, int]] = []
    for address, chosen, is_right, pause in played:
        refusal = await try_code(installation, address, numbers[chosen], account, is_right=is_right)
        if isinstance(refusal, IncorrectCode):
            compared.append((installation.clock_shift_ms, chosen))
        installation.advance_clock(pause)

    assert 10 >= count_most_in_an_hour([instant for instant, _ in compared])
    for number in range(2):
        assert 10 >= count_most_in_an_hour([at for at, chosen in compared if chosen == number])


async def test_a_guesser_at_known_and_unknown_addresses_has_ten_in_any_hour(
    installation: Installation,
) -> None:
    """It tries each minute of three hours, at every kind of address, and logs in now and then."""
    await log_in(installation, HOME, NUMBER)
    compared_at: list[int] = []
    addresses = cycle([HOME, ATTACKER, OFFICE, None])
    for minute in range(180):
        if minute % 50 == 49:
            await try_code(installation, HOME, NUMBER, is_right=True)
        if await guess(installation, [next(addresses)], NUMBER) == [True]:
            compared_at.append(minute * MINUTE_MS)
        installation.advance_clock(MINUTE_MS)

    assert 10 == count_most_in_an_hour(compared_at)


# ------------------------------------------------------------------------- the delay and the lock


async def fail_until_delayed(installation: Installation, *rest: Any) -> None:
    """Fail 17 times from an unknown address: the next attempt has to wait for an hour."""
    failures = 0
    while failures < 17:
        failures += sum(await guess(installation, [ATTACKER], *rest))
        installation.advance_clock(8 * MINUTE_MS)


async def test_a_known_address_does_not_wait_for_the_delay(installation: Installation) -> None:
    """An attacker keeps the delay at an hour with one failure an hour."""
    await log_in(installation, HOME, NUMBER)
    await fail_until_delayed(installation, NUMBER)

    refused = await try_code(installation, OFFICE, NUMBER, is_right=True)
    assert isinstance(refused, RateLimited)
    assert Limit.CONSECUTIVE_FAILURES_ACCOUNT == refused.limit
    await log_in(installation, HOME, NUMBER)


async def test_a_known_address_of_another_account_waits_for_the_delay_of_the_number(
    installation: Installation,
) -> None:
    """Otherwise an attacker could lock a number faster, at an account of its own."""
    await log_in(installation, HOME, NUMBER)
    await fail_until_delayed(installation, NUMBER)
    await log_in(installation, ATTACKER, None, OTHER_ACCOUNT)

    refused = await try_code(installation, ATTACKER, NUMBER, OTHER_ACCOUNT, is_right=True)

    assert isinstance(refused, RateLimited)
    assert Limit.CONSECUTIVE_FAILURES == refused.limit


@pytest.mark.parametrize(
    ("limit", "lock"),
    [
        (Limit.CONSECUTIVE_FAILURES, NumberLocked),
        (Limit.CONSECUTIVE_FAILURES_ACCOUNT, AccountLocked),
    ],
)
async def test_a_lock_holds_for_a_known_address(
    installation: Installation, limit: Limit, lock: type[OtpError]
) -> None:
    await log_in(installation, HOME, NUMBER)
    pending = await installation.issue(NUMBER, account=ACCOUNT.name)
    code = installation.router.extract_code()
    set_limits(installation, **{limit: (Window(4, 90 * 86400),)})
    await guess(installation, [ATTACKER] * 4, NUMBER)

    with pytest.raises(lock):
        await installation.verify(pending, code, client_ip=HOME)


async def test_failures_of_a_known_address_count_towards_the_lock(
    installation: Installation,
) -> None:
    await log_in(installation, HOME, NUMBER)
    pending = await installation.issue(NUMBER, account=ACCOUNT.name)
    set_limits(installation, ConsecutiveFailuresPerAccount=(Window(4, 90 * 86400),))
    assert [True] * 4 == await guess(installation, [HOME] * 4, NUMBER)

    with pytest.raises(AccountLocked):
        await installation.verify(pending, "000000", client_ip=HOME)


# --------------------------------------------------------------------------------- what is stored


async def read_record(installation: Installation) -> tuple[str, bytes]:
    (name,) = await installation.list_keys(RECORDS)
    (value,) = await installation.script_client.read_each([name.decode()], "GET")
    assert value is not None
    return name.decode(), value


async def test_what_is_stored_is_one_sealed_record_for_ninety_days(
    installation: Installation,
) -> None:
    """R57: it names no account and no address, and ends by itself."""
    await log_in(installation, HOME, NUMBER)
    await log_in(installation, "2001:db8:1:2::1", NUMBER)

    name, value = await read_record(installation)
    key = installation.store.key_names.known_addresses_key(int(name[1:3]), ACCOUNT)
    assert key == name
    _, body = installation.store.cipher.open_record(name, value)
    for text in (ACCOUNT.name, HOME, "2001:db8", NUMBER[1:]):
        assert text.encode() not in value + body + name.encode()
    assert bytes(map(int, HOME.split("."))) not in body
    (milliseconds,) = await installation.script_client.read_each([name], "PTTL")
    assert 90 * DAY_MS - MINUTE_MS < int(milliseconds or 0) <= 90 * DAY_MS


async def test_a_forged_record_is_refused_once(installation: Installation) -> None:
    """A wrong MAC is 503 and an event; nothing is sent, and the next login begins again."""
    await log_in(installation, HOME, NUMBER)
    name, value = await read_record(installation)
    forged = value[:-1] + bytes([value[-1] ^ 1])
    await installation.script_client.run_pipeline(name, [("SET", name, forged)])
    sent = len(installation.router.messages)

    with pytest.raises(StoreTampered):
        await installation.issue(NUMBER, account=ACCOUNT.name)
    await installation.dependencies.refunds.drain(5)

    assert sent == len(installation.router.messages)
    assert "store.tampered" == (await installation.list_event_types())[-1]
    assert [True] * 10 + [False] == await guess(installation, [ATTACKER] * 11)


async def test_a_record_of_another_account_is_refused(installation: Installation) -> None:
    """The MAC includes the key name: an attacker cannot make its address known by a copy."""
    await log_in(installation, ATTACKER, NUMBER, OTHER_ACCOUNT)
    name, value = await read_record(installation)
    victim = installation.store.key_names.known_addresses_key(int(name[1:3]), ACCOUNT)
    await installation.script_client.run_pipeline(victim, [("SET", victim, value)])

    with pytest.raises(StoreTampered):
        await installation.issue(NUMBER, account=ACCOUNT.name)


async def test_a_record_with_another_content_is_refused(installation: Installation) -> None:
    """Its MAC is right, so a program with the keys has written it."""
    await log_in(installation, HOME, NUMBER)
    name, _ = await read_record(installation)
    forged = installation.store.cipher.seal_record(name, 1, b"no record")
    await installation.script_client.run_pipeline(name, [("SET", name, forged)])

    with pytest.raises(StoreTampered):
        await installation.issue(NUMBER, account=ACCOUNT.name)
    await log_in(installation, HOME, NUMBER)


@pytest.mark.parametrize("ring", ["seal", "state", "limit"])
async def test_after_a_rotation_an_account_has_no_known_address_until_it_verifies(
    installation: Installation, ring: str
) -> None:
    """The record of a removed key cannot be read, and one under another name is not found."""
    await log_in(installation, HOME, NUMBER)
    rings = {name: getattr(installation.keys, name) for name in ServiceKeys.__struct_fields__}
    new = getattr(generate_keys("2"), ring).current
    rotated = installation.restart(keys=ServiceKeys(**{**rings, ring: KeyRing((new,))}))
    set_limits(rotated)

    assert [True] * 10 + [False] == await guess(rotated, [ATTACKER] * 11)
    rotated.advance_clock(HOUR_MS)
    await log_in(rotated, HOME)

    assert [True] * 8 + [False] * 2 == await guess(rotated, [ATTACKER] * 10)
    await log_in(rotated, HOME)


async def test_a_code_for_an_account_without_guesses_works_once_one_is_free(
    installation: Installation,
) -> None:
    """So an issue is not refused: the window frees one guess while the code is valid."""
    for _ in range(10):
        assert isinstance(await try_code(installation, None), IncorrectCode)
        installation.advance_clock(5 * MINUTE_MS + 50 * SECOND_MS)  # 58 min 20 s in all

    issued = await installation.issue(next(NUMBERS), account=ACCOUNT.name)
    code = installation.router.extract_code()
    with pytest.raises(RateLimited) as refusal:
        await installation.verify(issued, code)

    assert Limit.FAILURES_ACCOUNT == refusal.value.limit
    assert refusal.value.retry_after <= 100
    installation.advance_clock(refusal.value.retry_after * SECOND_MS)
    await installation.verify(issued, code)
