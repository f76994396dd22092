"""Authenticator apps: enrolment, confirmation and logins on a real Redis, with a moved clock."""

import os
import re
import time

import msgspec
import pyotp
import pytest

from otp_service.core import errors
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from tests.installation import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Installation, gather_results
from tests.service.app_user import PERIOD_MS, AppUser, empty, hold_acceptances


RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
TWIN_STEP = 65_343_997
"""A step of RFC_SECRET, in 2032, whose code is that of the next step too: 896878."""


@pytest.fixture
def user(installation: Installation) -> AppUser:
    """Return a user at `shop`."""
    return AppUser(installation)


async def list_events(installation: Installation, *names: str) -> list[str]:
    """Return types and named members of the events about authenticators."""
    events = [e for e in await installation.read_events() if e["type"].startswith("authent")]
    return [" ".join([e["type"], *(str(e.get(name)) for name in names)]) for e in events]


def set_limits(installation: Installation, **more: tuple[Window, ...]) -> None:
    limits = {**DEFAULT_LIMITS, **{Limit(name): windows for name, windows in more.items()}}
    shop = msgspec.structs.replace(installation.tenants["shop"], limits=limits)
    installation.tenants["shop"] = shop


# --------------------------------------------------------------------------------------- enrolment


async def test_an_app_is_enrolled_confirmed_and_verified(
    installation: Installation, user: AppUser
) -> None:
    """Each step has its event, with the authenticator's id and the key of its token."""
    await user.start_step()
    created = await user.create(name="alice@example.com")

    assert re.fullmatch("[A-Z2-7]{32}", created.base32_secret)
    assert pyotp.parse_uri(created.uri).secret == created.base32_secret
    assert created.uri.startswith("otpauth://totp/Example:alice%40example.com?secret=")
    lifetime = created.expires_at - await user.read_time()
    assert 29 * MINUTE_MS < lifetime <= 30 * MINUTE_MS
    confirmed = await user.confirm(await user.read_code())
    assert confirmed.token != created.token
    user.token = confirmed.token
    verified = await user.verify(await user.read_new_code())

    assert verified.token == confirmed.token
    assert abs(verified.at - await user.read_time()) < 10 * SECOND_MS
    recorded = await list_events(installation, "outcome", "sealed_under")
    names = ("enrolled", "attempted", "confirmed", "attempted", "verified")
    assert sorted(f"authenticator.{name} success 1" for name in names) == sorted(recorded)
    ids = {e["authenticator"] for e in await installation.read_events() if "authenticator" in e}
    assert 1 == len(ids)


async def test_the_name_in_the_app_defaults_to_the_account(user: AppUser) -> None:
    created = await user.create()

    assert "otpauth://totp/Example:u-81?" in created.uri


async def test_a_long_account_is_shortened_in_the_app_alone(installation: Installation) -> None:
    """The account has up to 128 characters, a label 64."""
    user = AppUser(installation, "u" * 128)
    await user.enroll()

    await user.verify(await user.read_new_code())


@pytest.mark.parametrize("name", ["", " ", "a:b", "a\nb", "a\u202eb", "x" * 65])
async def test_a_name_that_an_app_cannot_show_is_refused(user: AppUser, name: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        await user.create(name=name)

    assert ["name"] == [path for path, _ in caught.value.errors]


async def test_an_account_that_is_no_name_needs_one(installation: Installation) -> None:
    user = AppUser(installation, "tenant:81")
    with pytest.raises(errors.InvalidRequest) as caught:
        await user.create()

    assert "name" == caught.value.errors[0][0]
    assert "colon" in caught.value.errors[0][1]
    await user.create(name="alice")


async def test_an_imported_secret_is_confirmed_like_any_other(user: AppUser) -> None:
    secret = pyotp.random_base32()
    await user.start_step()
    created = await user.create(secret=secret)

    assert secret == created.base32_secret
    with pytest.raises(errors.AuthenticatorNotConfirmed):
        await user.verify(await user.read_code())
    user.token = (await user.confirm(await user.read_code())).token
    await user.verify(await user.read_new_code())


@pytest.mark.parametrize("secret", ["", "A" * 25, "0189" * 8, "\u0661" * 32, "B" * 256])
async def test_a_secret_of_another_form_or_under_128_bits_is_refused(
    user: AppUser, secret: str
) -> None:
    """RFC 4226 R6."""
    with pytest.raises(errors.InvalidRequest) as caught:
        await user.create(secret=secret)

    assert ["secret"] == [path for path, _ in caught.value.errors]


async def test_only_an_unconfirmed_authenticator_is_confirmed(user: AppUser) -> None:
    await user.enroll()
    user.unconfirmed_token = user.token

    with pytest.raises(errors.AuthenticatorAlreadyConfirmed):
        await user.confirm(await user.read_new_code())


async def test_an_unconfirmed_authenticator_expires(user: AppUser) -> None:
    """30 minutes by Redis's clock; confirm and verify give the same answer."""
    await user.create()
    user.installation.advance_clock(30 * MINUTE_MS)
    code = await user.read_code()

    with pytest.raises(errors.InvalidAuthenticator):
        await user.confirm(code)
    with pytest.raises(errors.InvalidAuthenticator):
        await user.verify(code)


async def test_a_token_opens_for_its_tenant_and_account_alone(installation: Installation) -> None:
    """Also one that was swapped in the caller's database, or altered; no such call is charged."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    others = (AppUser(installation, "u-82"), AppUser(installation, tenant="bank"))
    for other in others:
        other.token = other.unconfirmed_token = user.token
        for call in (other.verify, other.confirm):
            with pytest.raises(errors.InvalidAuthenticator):
                await call(code)
    for token in ("", "a1.", user.token[:-1], user.token + "A", f"r1{user.token[2:]}", "x" * 9999):
        with pytest.raises(errors.InvalidAuthenticator):
            await user.verify(code, token=token or "a1")

    assert [] == await installation.list_keys("*:limit:*")
    denied = [e for e in await list_events(installation, "reason") if "denied" in e]
    assert {"authenticator.denied invalid_authenticator"} == set(denied)
    await user.verify(code)


# ------------------------------------------------------------------------------------- each code once


async def test_a_code_is_accepted_once(installation: Installation, user: AppUser) -> None:
    """RFC 6238 §5.2. The second use costs an attempt and has an event of its own."""
    await user.enroll()
    code = await user.read_new_code()
    await user.verify(code)

    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)

    assert "authenticator.replayed failure" in await list_events(installation, "outcome")
    assert 1 == len(await installation.list_keys("*:limit:AuthenticatorFailuresPerAccount:*"))


async def test_of_thirty_uses_of_one_code_one_wins(
    installation: Installation, user: AppUser
) -> None:
    """They run in two processes; the others are replays, or refused by the limits."""
    set_limits(installation, AuthenticatorFailuresPerAccount=(Window(100, 600),))
    await user.enroll()
    code = await user.read_new_code()
    second = AppUser(installation.restart())
    second.installation.tenants.update(installation.tenants)
    second.token = user.token

    answers = await gather_results(*(one.verify(code) for _ in range(15) for one in (user, second)))

    kinds = [type(answer).__name__ for answer in answers]
    assert 1 == kinds.count("AuthenticatorAnswer"), kinds
    assert {"AuthenticatorAnswer", "CodeAlreadyUsed", "RateLimited"} >= set(kinds)
    recorded = await list_events(installation)
    assert 1 == recorded.count("authenticator.verified")


async def test_of_uses_that_are_decided_at_once_one_wins(
    installation: Installation, user: AppUser
) -> None:
    """Each has read that the step is new; the commit of one changes that, and the others see it."""
    set_limits(installation, AuthenticatorFailuresPerAccount=(Window(100, 600),))
    await user.enroll()
    code = await user.read_new_code()
    second = AppUser(installation.restart())
    second.installation.tenants.update(installation.tenants)
    second.token = user.token
    hold_acceptances(8, installation, second.installation)

    answers = await gather_results(*(one.verify(code) for _ in range(4) for one in (user, second)))

    kinds = sorted(type(answer).__name__ for answer in answers)
    assert ["AuthenticatorAnswer", *["CodeAlreadyUsed"] * 7] == kinds
    recorded = await list_events(installation)
    assert (1, 7) == tuple(recorded.count(f"authenticator.{n}") for n in ("verified", "replayed"))


async def test_an_older_code_after_a_newer_one_is_refused(user: AppUser) -> None:
    await user.enroll()
    older = await user.read_new_code()
    newer = await user.read_new_code()
    await user.verify(newer)

    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(older)


@pytest.mark.parametrize(("offset", "is_right"), [(-2, False), (-1, True), (1, True), (2, False)])
async def test_the_window_is_one_step_on_either_side(
    user: AppUser, *, offset: int, is_right: bool
) -> None:
    """RFC 6238 §5.2, without memory of drift."""
    await user.enroll()
    await user.start_step(5)
    code = await user.read_code(offset)

    if is_right:
        await user.verify(code)
    else:
        with pytest.raises(errors.IncorrectCode) as caught:
            await user.verify(code)
        assert caught.value.attempts_left is None


async def test_of_two_steps_with_one_code_the_newer_counts(user: AppUser) -> None:
    """Else the fresh code is a replay of the step before (once in a million)."""
    now = await user.read_time()
    user.installation.advance_clock((TWIN_STEP - 3) * PERIOD_MS - now)
    await user.enroll(secret=RFC_SECRET)
    await user.start_step()
    await user.verify(await user.read_code(1))  # of a phone that is ahead: the first twin
    await user.start_step()
    assert await user.read_code() == await user.read_code(1) == "896878"

    await user.verify(await user.read_code())


async def test_the_confirming_code_verifies_no_login(
    installation: Installation, user: AppUser
) -> None:
    """Also after Redis was emptied: the step is in the token."""
    await user.enroll()
    code = await user.read_code()
    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)
    await empty(installation)

    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)


async def test_one_unconfirmed_token_is_confirmed_once_by_one_code(user: AppUser) -> None:
    await user.start_step()
    await user.create()
    code = await user.read_code()
    await user.confirm(code)

    with pytest.raises(errors.CodeAlreadyUsed):
        await user.confirm(code)


async def test_what_an_emptied_redis_may_have_accepted_is_refused(
    installation: Installation, user: AppUser
) -> None:
    """Up to the step after its start, whose code could be used just before; and nothing is charged."""
    await user.enroll()
    await user.start_step(10)
    used, ahead = await user.read_code(), await user.read_code(1)
    await user.verify(ahead)
    await empty(installation)

    for code in (used, ahead, used, ahead, used, ahead):
        with pytest.raises(errors.RateLimited) as caught:
            await user.verify(code)
        assert 0 < caught.value.retry_after <= 60
    assert [] == await installation.list_keys("*:limit:*")
    installation.advance_clock(caught.value.retry_after * SECOND_MS)
    await user.verify(await user.read_code())


async def test_after_the_wait_of_a_data_loss_an_earlier_code_is_used_and_charged(
    installation: Installation, user: AppUser
) -> None:
    """It could never be accepted, so no further wait is asked for; the code of the app is accepted."""
    await user.enroll()
    await user.start_step(10)
    await empty(installation)
    code = await user.read_code(1)
    with pytest.raises(errors.RateLimited) as caught:
        await user.verify(code)
    installation.advance_clock(caught.value.retry_after * SECOND_MS)

    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)
    assert await installation.list_keys("*:limit:AuthenticatorFailuresPerAccount:*")
    await user.verify(await user.read_code())


async def test_an_enrolment_on_a_fresh_redis_can_log_in_at_once(
    installation: Installation, user: AppUser
) -> None:
    """Everything that this Redis accepted of it is known."""
    await empty(installation)
    await user.enroll()

    await user.verify(await user.read_code(1))


async def test_the_clock_of_the_host_has_no_effect(
    user: AppUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time comes from Redis."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    await user.enroll()
    await user.verify(await user.read_new_code())


# ------------------------------------------------------------------------------------------- limits


async def test_failures_are_counted_for_the_account_and_not_for_the_token(
    installation: Installation, user: AppUser
) -> None:
    """A new enrolment is no fresh budget: 5 in 10 min, at confirm and at verify."""
    for _ in range(5):
        await user.start_step()
        await user.create()
        with pytest.raises(errors.IncorrectCode):
            await user.confirm(await user.read_wrong_code())
    await user.create()

    with pytest.raises(errors.RateLimited) as caught:
        await user.confirm(await user.read_code())

    assert "AuthenticatorFailuresPerAccount" == caught.value.limit
    recorded = await list_events(installation, "reason", "limit")
    assert "authenticator.denied rate_limited AuthenticatorFailuresPerAccount" in recorded


async def test_twenty_failures_a_day_are_the_most(user: AppUser) -> None:
    """21 guesses over ever new enrolments of one account."""
    for _ in range(20):
        user.installation.advance_clock(HOUR_MS + MINUTE_MS)  # longer than the growing delay
        await user.create()
        with pytest.raises(errors.IncorrectCode):
            await user.confirm(await user.read_wrong_code())
    user.installation.advance_clock(HOUR_MS + MINUTE_MS)
    await user.create()

    with pytest.raises(errors.RateLimited) as caught:
        await user.confirm(await user.read_code())

    assert ("AuthenticatorFailuresPerAccount", 86400) == (
        caught.value.limit,
        caught.value.period_seconds,
    )


async def test_a_right_code_takes_its_failure_back(
    installation: Installation, user: AppUser
) -> None:
    await user.enroll()
    for _ in range(12):
        await user.verify(await user.read_new_code(), client_ip="203.0.113.9")

    assert [] == await installation.list_keys("*:limit:*")


async def test_the_account_is_locked_after_too_many_failures_in_a_row(
    installation: Installation, user: AppUser
) -> None:
    """A right code does not unlock it, and the other tenant and account are not locked."""
    set_limits(installation, ConsecutiveAuthenticatorFailuresPerAccount=(Window(4, 90 * 86400),))
    await user.enroll()
    for _ in range(4):
        with pytest.raises(errors.IncorrectCode):
            await user.verify(await user.read_wrong_code())
    recorded = await list_events(installation, "reason")
    assert 1 == recorded.count("authenticator.locked account_locked")
    installation.advance_clock(30 * DAY_MS)

    for code in (await user.read_code(), "12", "1" * 10):
        with pytest.raises(errors.AccountLocked):
            await user.verify(code)
    await user.create()
    with pytest.raises(errors.AccountLocked):
        await user.confirm(await user.read_code())
    for other in (AppUser(installation, "u-82"), AppUser(installation, tenant="bank")):
        await other.enroll()
        await other.verify(await other.read_new_code())
    assert "authenticator.denied account_locked" in await list_events(installation, "reason")


async def test_a_locked_account_still_issues_and_verifies_sms(
    installation: Installation, user: AppUser
) -> None:
    """Failing at one factor never blocks another one."""
    set_limits(
        installation,
        ConsecutiveAuthenticatorFailuresPerAccount=(Window(1, 90 * 86400),),
        FailuresPerTenant=(Window(1, 3600),),
        FailuresPerClientAddress=(Window(1, 3600),),
    )
    await user.enroll()
    with pytest.raises(errors.IncorrectCode):
        await user.verify(await user.read_wrong_code(), client_ip="203.0.113.9")

    issued = await installation.issue(account=user.account, client_ip="203.0.113.9")
    code = installation.router.extract_code()
    await installation.verify(issued, code, client_ip="203.0.113.9")


@pytest.mark.parametrize("name", ["FailuresPerTenant", "FailuresPerClientAddress"])
async def test_tenant_and_address_are_charged_first(
    installation: Installation, user: AppUser, name: str
) -> None:
    """A refusal there reserves nothing of the account; a lock is reported before it."""
    await user.enroll()
    other = AppUser(installation, "u-82")
    await other.enroll()
    set_limits(
        installation,
        ConsecutiveAuthenticatorFailuresPerAccount=(Window(1, 90 * 86400),),
        **{name: (Window(1, 3600),)},
    )
    with pytest.raises(errors.IncorrectCode):
        await user.verify(await user.read_wrong_code(), client_ip="203.0.113.9")

    with pytest.raises(errors.RateLimited) as caught:
        await other.verify(await other.read_code(1), client_ip="203.0.113.9")
    with pytest.raises(errors.AccountLocked):
        await user.verify(await user.read_code(1), client_ip="203.0.113.9")
    assert name == caught.value.limit
    assert 1 == len(await installation.list_keys("*:limit:AuthenticatorFailuresPerAccount:*"))


# ------------------------------------------------------------------------------- order and requests


@pytest.mark.parametrize("code", ["", "12345", "1234567", "12345\n", "\uff11" * 6, "1" * 100_000])
async def test_a_malformed_code_costs_nothing(
    installation: Installation, user: AppUser, code: str
) -> None:
    await user.create()
    for call in (user.confirm, user.verify):
        with pytest.raises(errors.MalformedCode):
            await call(code)

    assert [] == await installation.list_keys("*:limit:*")


async def test_spaces_and_hyphens_in_a_code_are_ignored(user: AppUser) -> None:
    await user.enroll()
    code = await user.read_new_code()

    await user.verify(f" {code[:3]}-{code[3:]} ")


async def test_a_purpose_must_be_one_of_the_tenant(
    installation: Installation, user: AppUser
) -> None:
    await user.enroll()
    shop = msgspec.structs.replace(installation.tenants["shop"], purposes=frozenset({"payment"}))
    installation.tenants["shop"] = shop

    with pytest.raises(errors.Forbidden):
        await user.verify(await user.read_new_code())
    await user.verify(await user.read_code(), purpose="payment")
    purposes = await list_events(installation, "purpose")
    assert "authenticator.verified payment" in purposes


async def test_a_tenant_may_require_the_address_of_the_client(
    installation: Installation, user: AppUser
) -> None:
    await user.enroll()
    shop = msgspec.structs.replace(installation.tenants["shop"], requires=frozenset({"client_ip"}))
    installation.tenants["shop"] = shop

    with pytest.raises(errors.InvalidRequest):
        await user.verify(await user.read_new_code())


# -------------------------------------------------------------------------------- repeated requests


async def test_a_repeated_verify_gets_the_same_answer(
    installation: Installation, user: AppUser
) -> None:
    """For 60 s, with spaces in the code or without; it is recorded, and costs nothing."""
    await user.enroll()
    code = await user.read_new_code()
    first = await user.verify(code, key="k1")
    installation.advance_clock(59 * SECOND_MS)

    assert first == await user.verify(code, key="k1")
    assert first == await user.verify(f"{code[:3]} {code[3:]}", key="k1")
    assert [] == await installation.list_keys("*:limit:*")
    assert "authenticator.verified True" in await list_events(installation, "repeated")
    installation.advance_clock(2 * SECOND_MS)
    with pytest.raises((errors.CodeAlreadyUsed, errors.IncorrectCode)):
        await user.verify(code, key="k1")


async def test_another_request_under_the_key_is_refused(
    installation: Installation, user: AppUser
) -> None:
    await user.enroll()
    another = AppUser(installation)
    await another.enroll(secret=user.secret)  # with the same codes
    code = await user.read_new_code()
    await user.verify(code, key="k1")

    for call in (
        user.verify(await user.read_wrong_code(), key="k1"),
        user.verify(code, key="k1", purpose="payment"),
        another.verify(code, key="k1"),
    ):
        with pytest.raises(errors.IdempotencyKeyReused):
            await call
    assert [] == await installation.list_keys("*:limit:*")


async def test_a_reused_key_is_reported_after_the_form_of_the_code_and_the_lock(
    installation: Installation, user: AppUser
) -> None:
    """Each refusal is recorded, and none of them is charged."""
    set_limits(installation, ConsecutiveAuthenticatorFailuresPerAccount=(Window(1, 7776000),))
    await user.enroll()
    await user.verify(await user.read_new_code(), key="k1")
    wrong = await user.read_wrong_code()

    with pytest.raises(errors.MalformedCode):
        await user.verify("x", key="k1")
    with pytest.raises(errors.AuthenticatorNotConfirmed):
        await user.verify(wrong, key="k1", token=user.unconfirmed_token)
    with pytest.raises(errors.IdempotencyKeyReused):
        await user.verify(wrong, key="k1")
    assert [] == await installation.list_keys("*:limit:*")
    with pytest.raises(errors.IncorrectCode):
        await user.verify(wrong)
    for code in ("x", wrong):
        with pytest.raises(errors.AccountLocked):
            await user.verify(code, key="k1")

    recorded = await list_events(installation, "reason")
    reasons = ("malformed", "not_confirmed", "idempotency_key_reused", "account_locked")
    denied = [f"authenticator.denied {reason}" for reason in reasons]
    assert [1, 1, 1, 2] == [recorded.count(event) for event in denied], recorded


async def test_a_refusal_leaves_the_key_free(user: AppUser) -> None:
    await user.enroll()
    with pytest.raises(errors.IncorrectCode):
        await user.verify(await user.read_wrong_code(), key="k1")

    await user.verify(await user.read_new_code(), key="k1")


async def test_a_repeated_confirm_returns_the_same_token_for_a_day(
    installation: Installation, user: AppUser
) -> None:
    """Also when the unconfirmed token has expired, for a day."""
    await user.start_step()
    await user.create()
    code = await user.read_code()
    first = await user.confirm(code, key="k1")
    installation.advance_clock(23 * HOUR_MS)

    assert first == await user.confirm(code, key="k1")
    assert "authenticator.confirmed True" in await list_events(installation, "repeated")
    installation.advance_clock(HOUR_MS)
    with pytest.raises(errors.InvalidAuthenticator):
        await user.confirm(code, key="k1")


async def test_calls_at_once_with_one_key_have_one_answer(
    installation: Installation, user: AppUser
) -> None:
    """One is accepted; the others are repeats of it, or come while it runs: no charge is left."""
    set_limits(installation, AuthenticatorFailuresPerAccount=(Window(100, 600),))
    await user.enroll()
    code = await user.read_new_code()

    answers = await gather_results(*(user.verify(code, key="k1") for _ in range(8)))

    accepted = [a for a in answers if not isinstance(a, errors.IdempotencyKeyInUse)]
    assert 1 == len({msgspec.json.encode(answer) for answer in accepted}), answers
    assert [] == await installation.list_keys("*:limit:*")
    recorded = await list_events(installation, "repeated")
    assert 1 == recorded.count("authenticator.verified None")


async def test_a_repeat_is_answered_also_when_the_account_is_locked_meanwhile(
    installation: Installation, user: AppUser
) -> None:
    set_limits(installation, ConsecutiveAuthenticatorFailuresPerAccount=(Window(1, 7776000),))
    await user.enroll()
    code = await user.read_new_code()
    first = await user.verify(code, key="k1")
    with pytest.raises(errors.IncorrectCode):
        await user.verify(await user.read_wrong_code())

    assert first == await user.verify(code, key="k1")


# ------------------------------------------------------------------------------------- key rotation


def rotate_authenticator_key(installation: Installation, *, keeps_old: bool = True) -> Installation:
    """Return the installation after a restart with a new key, before or without the old one."""
    keys = installation.keys
    new = Key("2", os.urandom(32))
    ring = KeyRing((new, *keys.authenticator) if keeps_old else (new,))
    return installation.restart(keys=msgspec.structs.replace(keys, authenticator=ring))


async def test_a_verify_under_an_old_key_returns_the_token_under_the_new_one(
    installation: Installation, user: AppUser
) -> None:
    """Live tokens under two keys verify; they are one authenticator, with one last step."""
    await user.enroll()
    old_token = user.token
    user.installation = rotate_authenticator_key(installation)
    code = await user.read_new_code()

    moved = await user.verify(code)

    assert moved.token != old_token
    for token in (old_token, moved.token):
        with pytest.raises(errors.CodeAlreadyUsed):
            await user.verify(code, token=token)
    again = await user.verify(await user.read_new_code(), token=moved.token)
    assert moved.token == again.token
    await user.verify(await user.read_new_code(), token=old_token)
    recorded = await list_events(installation, "sealed_under")
    verified = [name for name in recorded if name.startswith("authenticator.verified")]
    assert ["1", "2", "1"] == [name.split()[1] for name in verified]


async def test_a_repeat_is_found_also_with_the_token_under_the_new_key(
    installation: Installation, user: AppUser
) -> None:
    """The fingerprint is of the authenticator, not of its token."""
    await user.enroll()
    user.installation = rotate_authenticator_key(installation)
    code = await user.read_new_code()
    first = await user.verify(code, key="k")

    assert first == await user.verify(code, key="k", token=first.token)


async def test_a_confirmation_is_sealed_under_the_key_in_force(
    installation: Installation, user: AppUser
) -> None:
    await user.start_step()
    await user.create()
    user.installation = rotate_authenticator_key(installation)

    user.token = (await user.confirm(await user.read_code())).token

    assert user.token == (await user.verify(await user.read_new_code())).token


async def test_without_its_key_a_token_is_invalid(
    installation: Installation, user: AppUser
) -> None:
    await user.enroll()
    user.installation = rotate_authenticator_key(installation, keeps_old=False)

    with pytest.raises(errors.InvalidAuthenticator):
        await user.verify(await user.read_new_code())
