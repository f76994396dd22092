"""Verify: an attempt is charged before the code is compared, and the right code verifies once."""

import msgspec
import pytest

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeExpired,
    ChallengeLocked,
    ChallengeNotFound,
    IncorrectCode,
    MalformedCode,
    NumberLocked,
    RateLimited,
)
from otp_service.core.limits import Limit, Window
from otp_service.core.timestamps import format_rfc3339
from tests.installation import (
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Installation,
    gather_results,
    make_wrong_code,
)


async def test_the_right_code_verifies_once(installation: Installation) -> None:
    """R4: the second time it is a replay."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    verified = await installation.verify(issued, code)

    assert verified.challenge is not None
    assert ChallengeStatus.VERIFIED == verified.challenge.compute_status(verified.now)
    with pytest.raises(ChallengeAlreadyVerified):
        await installation.verify(issued, code)


async def test_of_thirty_right_answers_at_once_one_wins(installation: Installation) -> None:
    """R4, A3: check-then-delete would accept all of them."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    answers = await gather_results(*(installation.verify(issued, code) for _ in range(30)))

    assert 1 == sum(not isinstance(answer, Exception) for answer in answers)
    kinds = {type(answer) for answer in answers if isinstance(answer, Exception)}
    assert kinds <= {ChallengeAlreadyVerified, ChallengeLocked}


async def test_of_two_hundred_guesses_at_once_five_are_compared(installation: Installation) -> None:
    """R15, A2: the claim is charged before argon2 runs."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    before = installation.hasher.hash_count

    answers = await gather_results(
        *(installation.verify(issued, make_wrong_code(code, i + 1)) for i in range(200))
    )

    assert 5 == installation.hasher.hash_count - before
    assert 5 == sum(isinstance(answer, IncorrectCode) for answer in answers)
    assert 195 == sum(isinstance(answer, ChallengeLocked) for answer in answers)


async def test_a_right_answer_among_four_wrong_ones_in_flight_wins(
    installation: Installation,
) -> None:
    """R15: a claim that was charged in time wins, whatever claims follow it."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    answers = await gather_results(
        *(installation.verify(issued, make_wrong_code(code, i + 1)) for i in range(4)),
        installation.verify(issued, code),
    )

    assert 1 == sum(not isinstance(answer, Exception) for answer in answers)


async def test_the_fifth_wrong_answer_locks_even_for_the_right_code(
    installation: Installation,
) -> None:
    """R16: at most five attempts a challenge (PSD2 RTS 4(3)(b))."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    attempts_left = []
    for i in range(5):
        with pytest.raises(IncorrectCode) as refusal:
            await installation.verify(issued, make_wrong_code(code, i + 1))
        attempts_left.append(refusal.value.attempts_left)

    assert [4, 3, 2, 1, 0] == attempts_left
    with pytest.raises(ChallengeLocked):
        await installation.verify(issued, code)


@pytest.mark.parametrize(
    "code", ["12345", "1234567", "abcdef", "", "１２３４５６", "123456\n", "٠١٢٣٤٥", "12345²"]
)
async def test_a_malformed_code_costs_nothing_and_is_never_compared(
    installation: Installation, code: str
) -> None:
    """R8, R23: digits of other scripts and trailing newlines make a code malformed."""
    issued = await installation.issue()
    before = installation.hasher.hash_count

    with pytest.raises(MalformedCode):
        await installation.verify(issued, code)

    assert before == installation.hasher.hash_count
    now = await installation.service.get_challenge(
        installation.build_caller(), installation.get_challenge_id(issued)
    )
    assert now.challenge is not None
    assert 5 == now.challenge.attempts_left


async def test_spaces_and_hyphens_in_a_code_are_ignored(installation: Installation) -> None:
    """Users type what they see."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    verified = await installation.verify(issued, f" {code[:3]}-{code[3:]} ")

    assert verified.challenge is not None
    assert ChallengeStatus.VERIFIED == verified.challenge.compute_status(verified.now)


@pytest.mark.parametrize(
    "other", [{"purpose": "payment"}, {"account": "u-82"}, {"phone_number": "+447400123457"}]
)
async def test_a_code_for_another_purpose_account_or_number_costs_an_attempt(
    installation: Installation, other: dict[str, str]
) -> None:
    """R5: only the diagonal of the matrix verifies."""
    issued = await installation.issue(account="u-81")
    code = installation.router.extract_code()

    with pytest.raises(IncorrectCode) as refusal:
        await installation.verify(issued, code, **other)

    assert 4 == refusal.value.attempts_left
    await installation.verify(
        issued, code, purpose="login", account="u-81", phone_number="+447400123456"
    )


async def test_another_tenants_challenge_does_not_exist(installation: Installation) -> None:
    """R5: the id comes from the URL, the tenant from the API key."""
    issued = await installation.issue()

    with pytest.raises(ChallengeNotFound):
        await installation.verify(issued, installation.router.extract_code(), tenant="bank")


async def test_a_code_is_valid_until_its_deadline_and_not_at_it(installation: Installation) -> None:
    """R3: 300 s by default, by Redis's clock."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    other = await installation.issue("+447400123457")
    other_code = installation.router.extract_code()
    assert issued.challenge is not None
    assert other.challenge is not None

    installation.advance_clock(issued.challenge.deadline - issued.now - 5 * SECOND_MS)
    await installation.verify(issued, code)
    installation.advance_clock(5 * SECOND_MS + other.challenge.deadline - issued.challenge.deadline)
    with pytest.raises(ChallengeExpired):
        await installation.verify(other, other_code)


async def test_an_ended_challenge_reports_its_status_for_an_hour(
    installation: Installation,
) -> None:
    """The contract's states: after that, every call returns 404."""
    issued = await installation.issue()
    await installation.service.cancel(
        installation.build_caller(), installation.get_challenge_id(issued)
    )

    installation.advance_clock(HOUR_MS - MINUTE_MS)
    with pytest.raises(ChallengeCanceled):
        await installation.verify(issued, installation.router.extract_code())
    installation.advance_clock(2 * MINUTE_MS)
    with pytest.raises(ChallengeNotFound):
        await installation.verify(issued, installation.router.extract_code())


async def test_secrets_are_deleted_when_a_challenge_ends(installation: Installation) -> None:
    """R14: neither the hash nor the number remains after the challenge has ended."""
    for end in ("verified", "canceled", "locked"):
        number = {"verified": "+447400123451", "canceled": "+447400123452"}.get(
            end, "+447400123453"
        )
        issued = await installation.issue(number)
        code = installation.router.extract_code()
        if end == "verified":
            await installation.verify(issued, code)
        elif end == "canceled":
            await installation.service.cancel(
                installation.build_caller(), installation.get_challenge_id(issued)
            )
        else:
            await gather_results(
                *(installation.verify(issued, make_wrong_code(code, i + 1)) for i in range(5))
            )

        stored = await installation.store.fetch_challenge(
            "shop", installation.get_challenge_id(issued)
        )
        assert stored.secret is None, end
        assert stored.challenge is not None


async def test_guessing_over_many_challenges_stops_at_the_numbers_budget(
    installation: Installation,
) -> None:
    """R17: resends and new challenges refund no failures; ten an hour."""
    answers = []
    for _ in range(4):
        installation.advance_clock(10 * MINUTE_MS)
        issued = await installation.issue()
        code = installation.router.extract_code()
        answers += [
            (await gather_results(installation.verify(issued, make_wrong_code(code, i + 1))))[0]
            for i in range(4)
        ]

    assert 10 == sum(isinstance(answer, IncorrectCode) for answer in answers)
    assert ["FailuresPerNumber"] * 6 == [
        answer.limit for answer in answers if isinstance(answer, RateLimited)
    ]


async def test_a_tenant_may_lower_the_limit_of_consecutive_failures(
    installation: Installation,
) -> None:
    """R18: at most a hundred; a tenant may be stricter."""
    strict = {
        **installation.tenants["shop"].limits,
        Limit.CONSECUTIVE_FAILURES: (Window(2, 90 * 86400),),
    }
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits=strict
    )
    issued = await installation.issue()
    code = installation.router.extract_code()
    for by in (1, 2):
        with pytest.raises(IncorrectCode):
            await installation.verify(issued, make_wrong_code(code, by))

    with pytest.raises(NumberLocked):
        await installation.verify(issued, code)

    locked = [e["reason"] for e in await installation.read_events() if e["type"] == "otp.locked"]
    assert ["number_locked"] == locked


@pytest.mark.parametrize(
    ("issued_for", "verified_from", "expected"),
    [
        ("203.0.113.9", "203.0.113.9", False),
        ("203.0.113.9", "198.51.100.7", True),
        ("2001:db8:1:2::9", "2001:db8:1:2:ffff::1", False),
        ("2001:db8:1:2::9", "2001:db8:1:3::9", True),
        ("203.0.113.9", "::ffff:203.0.113.9", False),
        ("203.0.113.9", "64:ff9b::203.0.113.9", False),
        ("203.0.113.9", "2001:db8::9", True),
        (None, "203.0.113.9", None),
        ("203.0.113.9", None, None),
    ],
)
async def test_both_outcomes_of_a_code_say_whether_the_client_ip_changed(
    installation: Installation,
    issued_for: str | None,
    verified_from: str | None,
    expected: bool | None,  # noqa: FBT001
) -> None:
    """F2: a phished code comes from another address, as limits count it (IPv6: a /64 is one)."""
    issued = await installation.issue(client_ip=issued_for)
    code = installation.router.extract_code()

    with pytest.raises(IncorrectCode):
        await installation.verify(issued, make_wrong_code(code), client_ip=verified_from)
    await installation.verify(issued, code, client_ip=verified_from)

    outcomes = {
        event["type"]: event.get("client_ip_changed")
        for event in await installation.read_events()
        if event["type"] in {"otp.rejected", "otp.verified"}
    }
    assert {"otp.rejected": expected, "otp.verified": expected} == outcomes


async def test_an_issue_records_its_deadline_and_the_pseudonym_of_its_prefix(
    installation: Installation,
) -> None:
    """F1, F4: numbers of one block of ten thousand share the prefix; the challenge has the deadline."""
    one = await installation.issue("+447400123456")
    await installation.issue("+447400129999")
    await installation.issue("+447400133456")

    issued = [e for e in await installation.read_events() if e["type"] == "otp.issued"]

    assert one.challenge is not None
    deadlines = {event["challenge"]: event["expires_at"] for event in issued}
    assert format_rfc3339(one.challenge.deadline) == deadlines[one.challenge.id]
    prefixes = [event["prefix"] for event in issued]
    assert [1, 2] == sorted(map(prefixes.count, set(prefixes)))
    assert not any("44740012" in event["prefix"] for event in issued)
