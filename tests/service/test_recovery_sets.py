"""Recovery codes: ten single-use codes of an account, held by the caller as a sealed token."""

import asyncio
from typing import Any

import msgspec
import pytest

from otp_service.core.admission import AdmissionControl
from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.errors import (
    AccountLocked,
    CodeAlreadyUsed,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IncorrectCode,
    InvalidRecoverySet,
    InvalidRequest,
    MalformedCode,
    OtpError,
    Overloaded,
    RateLimited,
    StoreTampered,
    StoreUnavailable,
)
from otp_service.core.keys import KeyRing, ServiceKeys
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.recovery_codes import CODE_COUNT, RECOVERY_SET_TTL_MS
from otp_service.core.timestamps import DAY_MS
from otp_service.schemas import CreateRecoveryCodesRequest, VerifyRecoveryCodeRequest
from otp_service.service.recovery_code_check import RecoveryAnswer
from otp_service.service.recovery_sets import CreatedRecoverySet
from tests.installation import (
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Installation,
    gather_results,
    generate_keys,
)
from tests.service.app_user import pass_time
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


ACCOUNT = "u-81"
WRONG_CODE = "0000-0000-0000-0000"


async def create(
    installation: Installation, account: str = ACCOUNT, tenant: str = "shop"
) -> CreatedRecoverySet:
    caller = installation.build_caller(tenant)
    request = CreateRecoveryCodesRequest(account)
    return await installation.service.recovery_sets.create_set(caller, request)


async def verify(  # noqa: PLR0913  # what a request has
    installation: Installation,
    token: str,
    code: str,
    *,
    account: str = ACCOUNT,
    tenant: str = "shop",
    key: str | None = None,
    client_ip: str | None = None,
) -> RecoveryAnswer:
    caller = installation.build_caller(tenant)
    request = VerifyRecoveryCodeRequest(token, account, code, client_ip)
    return await installation.service.recovery_sets.verify_code(caller, request, key)


def set_limits(installation: Installation, **more: tuple[Window, ...]) -> None:
    limits = {**DEFAULT_LIMITS, **{Limit(name): windows for name, windows in more.items()}}
    shop = installation.tenants["shop"]
    installation.tenants["shop"] = msgspec.structs.replace(shop, limits=limits)


def allow_failures(installation: Installation, count: int = 1000) -> None:
    """Let an account fail often, so that another rule decides."""
    set_limits(installation, **{Limit.RECOVERY_FAILURES: (Window(count, 3600),)})


async def list_events(installation: Installation, event_type: str) -> list[dict[str, Any]]:
    return [e for e in await installation.read_events() if e["type"] == event_type]


# --------------------------------------------------------------------------------------- one code


async def test_each_code_is_accepted_once(installation: Installation) -> None:
    """With the token that the call before returned, and in any order."""
    created = await create(installation)
    token = created.token

    for used, code in enumerate(reversed(created.codes), start=1):
        answer = await verify(installation, token, code)
        token = answer.token
        assert CODE_COUNT - used == answer.codes_left
    assert CODE_COUNT == len(set(created.codes))
    with pytest.raises(CodeAlreadyUsed):
        await verify(installation, token, created.codes[0])


async def test_an_older_token_does_not_accept_a_used_code(installation: Installation) -> None:
    """Restoring the row of the user does not bring a code back; the other codes still work."""
    created = await create(installation)
    await verify(installation, created.token, created.codes[0])

    with pytest.raises(CodeAlreadyUsed):
        await verify(installation, created.token, created.codes[0])

    answer = await verify(installation, created.token, created.codes[1])
    assert CODE_COUNT - 2 == answer.codes_left
    with pytest.raises(CodeAlreadyUsed):
        await verify(installation, answer.token, created.codes[0])


async def test_after_a_loss_of_redis_the_newest_token_protects(installation: Installation) -> None:
    """It has no hash of a used code."""
    created = await create(installation)
    answer = await verify(installation, created.token, created.codes[0])
    for master in await installation.script_client.list_masters():
        await installation.script_client.read_from(master, "FLUSHALL")

    with pytest.raises(IncorrectCode):
        await verify(installation, answer.token, created.codes[0])
    assert CODE_COUNT - 2 == (await verify(installation, answer.token, created.codes[1])).codes_left


async def test_marks_that_were_rolled_back_are_found(installation: Installation) -> None:
    """An attacker with write access to Redis restores the marks from before a use."""
    created = await create(installation)
    await verify(installation, created.token, created.codes[0])
    (key,) = [name.decode() for name in await installation.list_keys("*:recovery:*")]
    (earlier,) = await installation.script_client.read_each([key], "GET")
    await verify(installation, created.token, created.codes[1])
    await installation.script_client.run_pipeline(key, [("SET", key, earlier, "KEEPTTL")])

    with pytest.raises(StoreTampered):
        await verify(installation, created.token, created.codes[1])

    (tampered,) = await list_events(installation, "store.tampered")
    assert key == tampered["record"]


async def test_of_thirty_uses_of_one_code_at_once_one_wins(installation: Installation) -> None:
    """Each is charged first, and the accepting commit replaces the marks that it was decided on."""
    allow_failures(installation)
    created = await create(installation)

    answers = await gather_results(
        *(verify(installation, created.token, created.codes[0]) for _ in range(30))
    )

    kinds = [type(answer) for answer in answers]
    assert 1 == kinds.count(RecoveryAnswer)
    # The others are refused before or after the comparison: ten failures in a row are a delay.
    assert {RecoveryAnswer, CodeAlreadyUsed, RateLimited} >= {*kinds}
    assert 5 <= kinds.count(CodeAlreadyUsed)
    assert 1 == len(await list_events(installation, "recovery.used"))


async def test_ten_codes_at_once_are_all_accepted(installation: Installation) -> None:
    """A conflict between two codes is decided again: neither is lost, neither is accepted twice."""
    allow_failures(installation)
    created = await create(installation)

    answers = await asyncio.gather(*(verify(installation, created.token, c) for c in created.codes))

    assert {*range(CODE_COUNT)} == {answer.codes_left for answer in answers}
    newest = min(answers, key=lambda answer: answer.codes_left)
    for code in created.codes:
        with pytest.raises(CodeAlreadyUsed):
            await verify(installation, newest.token, code)


async def test_case_separators_and_similar_letters_are_ignored(installation: Installation) -> None:
    """A person types what is on paper."""
    created = await create(installation)
    typed = created.codes[0].lower().replace("-", " ").replace("1", "l").replace("0", "o")

    assert CODE_COUNT - 1 == (await verify(installation, created.token, typed)).codes_left


async def test_one_run_of_argon2_compares_all_codes(installation: Installation) -> None:
    created = await create(installation)
    assert CODE_COUNT == installation.hasher.hash_count

    for code in (created.codes[9], WRONG_CODE):
        before = installation.hasher.hash_count
        await gather_results(verify(installation, created.token, code))
        assert 1 == installation.hasher.hash_count - before


# ----------------------------------------------------------------------------------- foreign token


@pytest.mark.parametrize("other", [{"account": "u-82"}, {"tenant": "bank"}])
async def test_a_set_of_another_account_or_tenant_is_invalid(
    installation: Installation, other: dict[str, str]
) -> None:
    """A caller that mixes up two rows learns it at once; nothing is charged or compared."""
    created = await create(installation)
    before = installation.hasher.hash_count

    with pytest.raises(InvalidRecoverySet):
        await verify(installation, created.token, created.codes[0], **other)

    assert before == installation.hasher.hash_count
    (denied,) = await list_events(installation, "recovery.denied")
    assert "invalid_recovery_set" == denied["reason"]
    await verify(installation, created.token, created.codes[0])


@pytest.mark.parametrize("token", ["", "r1.", "r1.AAAA", "a1.AAAA", "r1." + "A" * 5000, "é"])
async def test_what_is_no_token_is_invalid(installation: Installation, token: str) -> None:
    with pytest.raises(InvalidRecoverySet):
        await verify(installation, token, WRONG_CODE)


async def test_an_invalid_address_is_reported_before_an_invalid_set(
    installation: Installation,
) -> None:
    """400 comes before 422; a tenant that requires an address gets it at each verify."""
    with pytest.raises(InvalidRequest):
        await verify(installation, "r1.AAAA", WRONG_CODE, client_ip="localhost")

    shop = installation.tenants["shop"]
    required = frozenset({"client_ip"})
    installation.tenants["shop"] = msgspec.structs.replace(shop, requires=required)
    created = await create(installation)
    with pytest.raises(InvalidRequest):
        await verify(installation, created.token, created.codes[0])


async def test_a_set_expires_400_days_after_its_last_use(installation: Installation) -> None:
    created = await create(installation)
    installation.advance_clock(RECOVERY_SET_TTL_MS - MINUTE_MS)
    answer = await verify(installation, created.token, created.codes[0])
    installation.advance_clock(2 * MINUTE_MS)

    with pytest.raises(InvalidRecoverySet):
        await verify(installation, created.token, created.codes[1])
    await verify(installation, answer.token, created.codes[1])


async def test_a_used_code_is_refused_for_as_long_as_a_token_is_valid(
    installation: Installation,
) -> None:
    """Redis keeps the mark for longer than the older token lives."""
    created = await create(installation)
    await verify(installation, created.token, created.codes[0])
    (key,) = await installation.list_keys("*recovery*")
    (lifetime_ms,) = await installation.script_client.read_each([key.decode()], "PTTL")
    assert RECOVERY_SET_TTL_MS + DAY_MS - MINUTE_MS < lifetime_ms

    installation.advance_clock(RECOVERY_SET_TTL_MS - MINUTE_MS)

    with pytest.raises(CodeAlreadyUsed):
        await verify(installation, created.token, created.codes[0])


async def test_the_marks_outlive_the_token_of_the_last_use(installation: Installation) -> None:
    """Each use seals a token that is valid for 400 days more, and the marks with it."""
    created = await create(installation)
    installation.advance_clock(200 * DAY_MS)
    newest = await verify(installation, created.token, created.codes[0])
    await verify(installation, newest.token, created.codes[1])
    await pass_time(installation, RECOVERY_SET_TTL_MS - MINUTE_MS)

    with pytest.raises(CodeAlreadyUsed):
        await verify(installation, newest.token, created.codes[1])


# --------------------------------------------------------------------------------------- failures


async def test_a_wrong_code_costs_an_attempt_of_the_account(installation: Installation) -> None:
    """Five an hour, over all sets: a new set is no fresh budget. No attempts are reported."""
    created = await create(installation)
    for _ in range(4):
        with pytest.raises(IncorrectCode) as refused:
            await verify(installation, created.token, WRONG_CODE)
        assert refused.value.attempts_left is None
    newer = await create(installation)
    with pytest.raises(IncorrectCode):
        await verify(installation, newer.token, WRONG_CODE)

    with pytest.raises(RateLimited) as limited:
        await verify(installation, newer.token, newer.codes[0])

    assert Limit.RECOVERY_FAILURES == limited.value.limit
    installation.advance_clock(limited.value.retry_after * SECOND_MS)
    await verify(installation, newer.token, newer.codes[0])


async def test_a_used_code_costs_an_attempt_too(installation: Installation) -> None:
    """Or it could be tried without a bound."""
    created = await create(installation)
    await verify(installation, created.token, created.codes[0])
    for _ in range(5):
        with pytest.raises(CodeAlreadyUsed):
            await verify(installation, created.token, created.codes[0])

    with pytest.raises(RateLimited):
        await verify(installation, created.token, created.codes[1])


async def test_a_right_code_gets_its_own_charges_back(installation: Installation) -> None:
    """Ten right codes in a row are more than five failures an hour."""
    created = await create(installation)
    for _ in range(4):
        with pytest.raises(IncorrectCode):
            await verify(installation, created.token, WRONG_CODE, client_ip="203.0.113.9")
    for code in created.codes:
        await verify(installation, created.token, code, client_ip="203.0.113.9")

    with pytest.raises(IncorrectCode):
        await verify(installation, created.token, WRONG_CODE)
    with pytest.raises(RateLimited):
        await verify(installation, created.token, WRONG_CODE)


async def test_guesses_at_once_are_charged_before_they_are_compared(
    installation: Installation,
) -> None:
    """Of thirty, five run argon2."""
    created = await create(installation)
    before = installation.hasher.hash_count

    answers = await gather_results(
        *(verify(installation, created.token, WRONG_CODE) for _ in range(30))
    )

    assert 5 == installation.hasher.hash_count - before
    kinds = [type(answer) for answer in answers]
    assert {IncorrectCode: 5, RateLimited: 25} == {kind: kinds.count(kind) for kind in kinds}


async def test_a_hundred_failures_in_a_row_lock_the_recovery_codes(
    installation: Installation,
) -> None:
    """A right code does not unlock, nor does time or a new set; an operator does."""
    set_limits(
        installation,
        **{
            Limit.RECOVERY_FAILURES: (Window(1000, 3600),),
            Limit.CONSECUTIVE_RECOVERY_FAILURES: (Window(12, 90 * 86400),),
        },
    )
    created = await create(installation)
    for _ in range(12):
        with pytest.raises(IncorrectCode):
            await verify(installation, created.token, WRONG_CODE)
        installation.advance_clock(HOUR_MS)
    locked = await list_events(installation, "recovery.locked")
    newer = await create(installation)
    installation.advance_clock(30 * DAY_MS)

    for _ in range(2):
        with pytest.raises(AccountLocked):
            await verify(installation, newer.token, newer.codes[0])

    assert ["account_locked"] == [event["reason"] for event in locked]
    denied = await list_events(installation, "recovery.denied")
    assert {"account_locked"} == {event["reason"] for event in denied}
    await installation.issue(account=ACCOUNT)  # SMS stays usable
    caller = installation.build_caller()
    await installation.service.accounts.unlock_account(caller, "shop", ACCOUNT)
    await verify(installation, newer.token, newer.codes[0])


async def test_a_lock_is_reported_before_the_form_of_a_code(installation: Installation) -> None:
    set_limits(installation, **{Limit.CONSECUTIVE_RECOVERY_FAILURES: (Window(1, 90 * 86400),)})
    created = await create(installation)
    with pytest.raises(MalformedCode):
        await verify(installation, created.token, "12")
    with pytest.raises(IncorrectCode):
        await verify(installation, created.token, WRONG_CODE)

    with pytest.raises(AccountLocked):
        await verify(installation, created.token, "12")


@pytest.mark.parametrize(
    "code", ["", "123456", WRONG_CODE + "0", "U" * 16, "\uff11" * 16, "1" * 100_000, "١" * 16]
)
async def test_a_malformed_code_costs_nothing(installation: Installation, code: str) -> None:
    created = await create(installation)
    before = installation.hasher.hash_count

    for _ in range(7):
        with pytest.raises(MalformedCode):
            await verify(installation, created.token, code)

    assert before == installation.hasher.hash_count
    await verify(installation, created.token, created.codes[0])


async def test_failures_of_an_address_count_this_factor_alone(installation: Installation) -> None:
    """A client that fails with recovery codes is not refused when it verifies an SMS code."""
    allow_failures(installation)
    set_limits(installation, **{Limit.FAILURES_ADDRESS: (Window(1, 3600),)})
    created = await create(installation)
    with pytest.raises(IncorrectCode):
        await verify(installation, created.token, WRONG_CODE, client_ip="203.0.113.9")

    with pytest.raises(RateLimited):
        await verify(installation, created.token, created.codes[0], client_ip="203.0.113.9")

    issued = await installation.issue(account=ACCOUNT)
    await installation.verify(issued, installation.router.extract_code(), client_ip="203.0.113.9")
    await verify(installation, created.token, created.codes[0], client_ip="203.0.113.10")


# ------------------------------------------------------------------------------------ idempotency


async def test_a_repeat_after_a_lost_reply_gets_the_same_token(installation: Installation) -> None:
    """With the token that the caller still has, and although the code is used. It costs nothing."""
    created = await create(installation)
    first = await verify(installation, created.token, created.codes[0], key="try-1")
    before = installation.hasher.hash_count

    for token in [created.token, first.token] * 4:
        assert first == await verify(installation, token, created.codes[0].lower(), key="try-1")

    assert before == installation.hasher.hash_count
    repeated = [e.get("repeated", False) for e in await list_events(installation, "recovery.used")]
    assert [False, True] == sorted({*repeated})
    await verify(installation, first.token, created.codes[1], key="try-2")


async def test_a_repeat_is_answered_for_a_minute(installation: Installation) -> None:
    created = await create(installation)
    await verify(installation, created.token, created.codes[0], key="try-1")

    installation.advance_clock(MINUTE_MS)

    with pytest.raises(CodeAlreadyUsed):
        await verify(installation, created.token, created.codes[0], key="try-1")


async def test_a_key_is_for_one_code(installation: Installation) -> None:
    created, other = await create(installation), await create(installation)
    await verify(installation, created.token, created.codes[0], key="try-1")

    for token, code in (
        (created.token, created.codes[1]),
        (other.token, other.codes[0]),
        (created.token, WRONG_CODE),
    ):
        with pytest.raises(IdempotencyKeyReused):
            await verify(installation, token, code, key="try-1")
    await verify(installation, created.token, created.codes[1], key="try-2")


async def test_a_reused_key_is_reported_after_the_form_of_the_code_and_the_lock(
    installation: Installation,
) -> None:
    """Each refusal is recorded, and none of them is charged."""
    set_limits(installation, **{Limit.CONSECUTIVE_RECOVERY_FAILURES: (Window(1, 7776000),)})
    created = await create(installation)
    await verify(installation, created.token, created.codes[0], key="try-1")

    for code, expected in (("x", MalformedCode), (WRONG_CODE, IdempotencyKeyReused)):
        with pytest.raises(expected):
            await verify(installation, created.token, code, key="try-1")
    with pytest.raises(IncorrectCode):
        await verify(installation, created.token, WRONG_CODE)
    for code in ("x", WRONG_CODE):
        with pytest.raises(AccountLocked):
            await verify(installation, created.token, code, key="try-1")

    reasons = [e["reason"] for e in await list_events(installation, "recovery.denied")]
    expected_reasons = ["malformed", "idempotency_key_reused", "account_locked"]
    assert expected_reasons == list(dict.fromkeys(reasons))


async def test_a_refusal_frees_the_key(installation: Installation) -> None:
    created = await create(installation)
    with pytest.raises(IncorrectCode):
        await verify(installation, created.token, WRONG_CODE, key="try-1")

    await verify(installation, created.token, created.codes[0], key="try-1")


async def test_repeats_at_once_get_one_answer(installation: Installation) -> None:
    """Those that overlap with the first call are refused, and may be repeated."""
    created = await create(installation)

    answers = await gather_results(
        *(verify(installation, created.token, created.codes[0], key="try-1") for _ in range(9))
    )

    accepted = [a for a in answers if not isinstance(a, IdempotencyKeyInUse)]
    assert 1 == len({answer.token for answer in accepted}), answers
    used = await list_events(installation, "recovery.used")
    assert 1 == sum(not e.get("repeated") for e in used)


# ----------------------------------------------------------------------------------------- events


async def test_events_have_the_set_and_never_a_code(installation: Installation) -> None:
    """The account is a pseudonym; the id of the set connects its events."""
    created = await create(installation)
    with pytest.raises(IncorrectCode):
        await verify(installation, created.token, WRONG_CODE)
    answer = await verify(installation, created.token, created.codes[0])
    with pytest.raises(CodeAlreadyUsed):
        await verify(installation, answer.token, created.codes[0])

    found = [e for e in await installation.read_events() if e["type"].startswith("recovery.")]

    kinds = [(e["type"].removeprefix("recovery."), e.get("reason")) for e in found]
    assert [
        ("created", None),
        *(("attempted", None), ("rejected", "mismatch")),
        *(("attempted", None), ("used", None)),
        *(("attempted", None), ("rejected", "used")),
    ] == kinds
    assert 1 == len({e["recovery_set"] for e in found})
    assert {"1"} == {e["sealed_under"] for e in found}
    pseudonym = installation.keys.pseudonym.current.derive_pseudonym("account", ACCOUNT)
    assert {pseudonym} == {e["account"] for e in found}
    text = msgspec.json.encode(found).decode()
    for secret in (*created.codes, created.token, answer.token, ACCOUNT):
        assert secret not in text
        assert secret.replace("-", "") not in text


async def test_an_event_says_that_few_codes_are_left(installation: Installation) -> None:
    """At each use from the seventh on."""
    created = await create(installation)
    for code in created.codes[:8]:
        await verify(installation, created.token, code)

    low = await list_events(installation, "recovery.low")

    assert [3, 2] == [event["codes_left"] for event in low]


# --------------------------------------------------------------------------------------- creation


async def test_sets_of_an_account_are_limited(installation: Installation) -> None:
    """Five a day, and each costs ten runs of argon2: the sixth runs none."""
    for _ in range(5):
        await create(installation)
    before = installation.hasher.hash_count

    with pytest.raises(RateLimited) as limited:
        await create(installation)

    assert Limit.RECOVERY_SETS == limited.value.limit
    assert before == installation.hasher.hash_count
    (denied,) = await list_events(installation, "recovery.denied")
    assert (Limit.RECOVERY_SETS, 5) == (denied["limit"], denied["quota"])
    await create(installation, tenant="bank")
    await create(installation, "u-82")
    installation.advance_clock(DAY_MS)
    await create(installation)


async def test_a_new_set_counts_ten_in_admission(installation: Installation) -> None:
    """A verify counts one, in slots of its own. Nothing is charged for a call that is refused."""
    created = await create(installation)
    slots, verify_slots = AdmissionControl(12, 12), AdmissionControl(1, 1)
    installation = installation.restart(hash_slots=slots, verify_slots=verify_slots)
    with slots.acquire("shop", 3):
        for _ in range(6):
            with pytest.raises(Overloaded):
                await create(installation)
    with slots.acquire("shop", 12):
        await verify(installation, created.token, created.codes[0])
        with verify_slots.acquire("shop"), pytest.raises(Overloaded):
            await verify(installation, created.token, created.codes[1])

    await create(installation)

    assert 0 == slots.in_use
    await verify(installation, created.token, created.codes[1])
    assert [] == await list_events(installation, "recovery.denied")


async def test_a_repeat_needs_no_slot(installation: Installation) -> None:
    """Nothing is compared: a malformed code and a repeat are answered when argon2 is at capacity."""
    created = await create(installation)
    first = await verify(installation, created.token, created.codes[0], key="try-1")
    installation = installation.restart(verify_slots=AdmissionControl(0, 0))

    assert first == await verify(installation, created.token, created.codes[0], key="try-1")
    with pytest.raises(MalformedCode):
        await verify(installation, created.token, "12")
    with pytest.raises(Overloaded):
        await verify(installation, created.token, created.codes[1])


async def test_an_earlier_set_stays_valid(installation: Installation) -> None:
    """The caller replaces the token in the row of the user; the service keeps no list of sets."""
    earlier, newer = await create(installation), await create(installation)

    await verify(installation, earlier.token, earlier.codes[0])
    await verify(installation, newer.token, newer.codes[0])
    with pytest.raises(IncorrectCode):
        await verify(installation, newer.token, earlier.codes[1])


async def test_a_traceback_shows_no_code(installation: Installation) -> None:
    """Neither a plain one nor a pretty one, which prints the members of a struct."""
    created = await create(installation)

    assert "CreatedRecoverySet()" == repr(created)
    assert [] == created.__rich_repr__()


async def test_codes_of_two_sets_differ_and_show_their_form(installation: Installation) -> None:
    codes = [*(await create(installation)).codes, *(await create(installation)).codes]

    assert 2 * CODE_COUNT == len({*codes})
    for code in codes:
        assert [4, 4, 4, 4] == [len(group) for group in code.split("-")]
        assert not {*code} & {*"ILOU"}


# ------------------------------------------------------------------------------------------- keys


async def test_a_set_survives_a_rotation_of_its_key_and_of_the_parameters(
    installation: Installation,
) -> None:
    """A verify under an old key returns the token under the new one; then the old key is not needed."""
    created = await create(installation)
    new = generate_keys("2").authenticator.current
    old = installation.keys.authenticator.current
    rings = {name: getattr(installation.keys, name) for name in installation.keys.__struct_fields__}
    rotated = ServiceKeys(**{**rings, "authenticator": KeyRing((new, old))})
    installation = installation.restart(keys=rotated)
    installation.hasher.profile = Argon2Profile(16, 1, 1)

    answer = await verify(installation, created.token, created.codes[0])

    alone = ServiceKeys(**{**rings, "authenticator": KeyRing((new,))})
    installation = installation.restart(keys=alone)
    with pytest.raises(InvalidRecoverySet):
        await verify(installation, created.token, created.codes[1])
    assert CODE_COUNT - 2 == (await verify(installation, answer.token, created.codes[1])).codes_left


# ----------------------------------------------------------------------------- without the store


async def test_a_set_that_the_store_refuses_is_not_charged(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets no codes, and may try again five times."""
    commit = installation.store.commit
    failing = True

    async def commit_without_reply(request: Any) -> Any:
        outcome = await commit(request)
        if failing and request.charges:
            raise StoreUnavailable
        return outcome

    monkeypatch.setattr(installation.store, "commit", commit_without_reply)
    for _ in range(6):
        with pytest.raises(StoreUnavailable):
            await create(installation)
    failing = False
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    for _ in range(5):
        await create(installation)


async def test_a_verify_that_the_store_refuses_is_refunded(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was compared. After it the same code works."""
    created = await create(installation)
    commit = installation.store.commit
    failing = True

    async def commit_without_reply(request: Any) -> Any:
        outcome = await commit(request)
        if failing and request.charges:
            raise StoreUnavailable
        return outcome

    monkeypatch.setattr(installation.store, "commit", commit_without_reply)
    before = installation.hasher.hash_count
    for _ in range(6):
        with pytest.raises(OtpError):
            await verify(installation, created.token, created.codes[0])
    assert before == installation.hasher.hash_count
    failing = False
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    await verify(installation, created.token, created.codes[0])
