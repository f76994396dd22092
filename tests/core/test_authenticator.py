"""Authenticator apps: codes as the RFCs have them, each step accepted once, tokens of one account."""

import hashlib
import itertools
import secrets

import msgspec
import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core import errors
from otp_service.core.authenticator import (
    MAX_SECRET_BYTES,
    MIN_API_SECRET_BITS,
    MIN_SECRET_BITS,
    UNCONFIRMED_TTL_MS,
    Algorithm,
    Authenticator,
    StepDecision,
    StepVerdict,
    create_authenticator,
    decide_step,
    list_matching_steps,
    open_authenticator,
    parse_base32_secret,
)
from otp_service.core.keys import Key, KeyRing
from otp_service.core.sealed_token import TokenCipher, TokenKind


NOW = 1_763_814_000_000
"""The first millisecond of a step of 30 seconds."""

STEP_MS = 30_000
CURRENT = NOW // STEP_MS

OLD_KEY, NEW_KEY = Key("a1", b"o" * 32), Key("a2", b"n" * 32)
CIPHER = TokenCipher(KeyRing((NEW_KEY, OLD_KEY)), secrets.token_bytes)

RFC_SECRET = b"12345678901234567890"

UNCONFIRMED = create_authenticator(secrets.token_bytes, "shop", "u-81", NOW, RFC_SECRET)
ACTIVE = replace(UNCONFIRMED, created_at=NOW - 100 * STEP_MS).confirm(
    CURRENT - 100, NOW - 100 * STEP_MS
)

HOTP_CODES = (
    *("755224", "287082", "359152", "969429", "338314"),
    *("254676", "287922", "162583", "399871", "520489"),
)
"""RFC 4226 appendix D, for the counters 0 to 9."""

TOTP_CODES = (
    (59, Algorithm.SHA1, "94287082"),
    (59, Algorithm.SHA256, "46119246"),
    (59, Algorithm.SHA512, "90693936"),
    (1111111109, Algorithm.SHA1, "07081804"),
    (1111111109, Algorithm.SHA256, "68084774"),
    (1111111109, Algorithm.SHA512, "25091201"),
    (1111111111, Algorithm.SHA1, "14050471"),
    (1111111111, Algorithm.SHA256, "67062674"),
    (1111111111, Algorithm.SHA512, "99943326"),
    (1234567890, Algorithm.SHA1, "89005924"),
    (1234567890, Algorithm.SHA256, "91819424"),
    (1234567890, Algorithm.SHA512, "93441116"),
    (2000000000, Algorithm.SHA1, "69279037"),
    (2000000000, Algorithm.SHA256, "90698825"),
    (2000000000, Algorithm.SHA512, "38618901"),
    (20000000000, Algorithm.SHA1, "65353130"),
    (20000000000, Algorithm.SHA256, "77737706"),
    (20000000000, Algorithm.SHA512, "47863826"),
)
"""RFC 6238 appendix B. Its secrets are as long as the hash: see errata 2866."""

SECRET_BYTES = {Algorithm.SHA1: 20, Algorithm.SHA256: 32, Algorithm.SHA512: 64}


def build_rfc_authenticator(algorithm: Algorithm, digits: int = 8) -> Authenticator:
    secret = (RFC_SECRET * 4)[: SECRET_BYTES[algorithm]]
    return replace(ACTIVE, secret=secret, algorithm=algorithm, digits=digits, confirmed_step=None)


# ------------------------------------------------------------------------------ codes of a step


@pytest.mark.parametrize(("counter", "code"), [*enumerate(HOTP_CODES)])
def test_codes_of_six_digits_are_those_of_rfc_4226(counter, code):
    assert code == ACTIVE.compute_code(counter)


@pytest.mark.parametrize(("seconds", "algorithm", "code"), TOTP_CODES)
def test_codes_of_eight_digits_are_those_of_rfc_6238(seconds, algorithm, code):
    authenticator = build_rfc_authenticator(algorithm)
    step = authenticator.compute_step(seconds * 1000)

    assert code == authenticator.compute_code(step)
    assert step in list_matching_steps(authenticator, code, seconds * 1000)


@pytest.mark.parametrize("offset", range(-2, 3))
@pytest.mark.parametrize("millisecond", [0, 1, 14_999, STEP_MS - 1])
@pytest.mark.parametrize("boundary", [NOW, 30_000 * STEP_MS, 2_000_000_010_000])
def test_the_step_before_and_the_step_after_match_at_each_end_of_a_step(
    boundary, millisecond, offset
):
    """RFC 6238 §5.2: one step either way, and no more."""
    now = boundary + millisecond
    code = ACTIVE.compute_code(boundary // STEP_MS + offset)
    expected = (boundary // STEP_MS + offset,) if abs(offset) <= 1 else ()

    assert expected == list_matching_steps(ACTIVE, code, now)


@pytest.mark.parametrize("period", [10, 60, 120])
def test_an_imported_period_has_steps_of_its_own(period):
    authenticator = replace(ACTIVE, period=period)
    first = NOW // (period * 1000) * period * 1000

    for offset, now in itertools.product(range(-2, 3), (first, first + period * 1000 - 1)):
        step = first // (period * 1000) + offset
        matches = list_matching_steps(authenticator, authenticator.compute_code(step), now)
        assert ((step,) if abs(offset) <= 1 else ()) == matches


def test_there_is_no_step_before_the_first():
    assert (0,) == list_matching_steps(ACTIVE, HOTP_CODES[0], 0)
    assert (1,) == list_matching_steps(ACTIVE, HOTP_CODES[1], 0)


def test_every_candidate_is_computed_also_after_a_match(monkeypatch):
    """The time of a response shows neither which step matched nor whether one did."""
    steps = []
    compute_code = Authenticator.compute_code

    def record_step(authenticator: Authenticator, step: int) -> str:
        steps.append(step)
        return compute_code(authenticator, step)

    monkeypatch.setattr(Authenticator, "compute_code", record_step)
    for code in (compute_code(ACTIVE, CURRENT - 1), "000000"):
        steps.clear()
        list_matching_steps(ACTIVE, code, NOW)
        assert [CURRENT - 1, CURRENT, CURRENT + 1] == steps


def change_script(code: str, zero: str) -> str:
    return "".join(chr(ord(zero) + int(digit)) for digit in code)


@pytest.mark.parametrize("zero", "\uff10\u0660\u0966\u09e6\U0001d7ce")
def test_digits_of_other_scripts_do_not_match(zero):
    """pyotp's own comparison accepts full-width and mathematical digits (R8)."""
    code = ACTIVE.compute_code(CURRENT)

    assert not list_matching_steps(ACTIVE, change_script(code, zero), NOW)


@given(st.text(max_size=20))
def test_only_the_codes_of_the_window_match(text):
    codes = {ACTIVE.compute_code(CURRENT + offset) for offset in (-1, 0, 1)}

    assert (text in codes) == bool(list_matching_steps(ACTIVE, text, NOW))


@given(st.binary(min_size=14, max_size=128), st.sampled_from(Algorithm), st.integers(6, 8))
def test_codes_are_those_of_an_app(secret, algorithm, digits):
    """pyotp's TOTP plays the app, which is given the secret in base32."""
    authenticator = replace(ACTIVE, secret=secret, algorithm=algorithm, digits=digits)
    digest = getattr(hashlib, algorithm)
    app = pyotp.TOTP(authenticator.base32_secret, digits=digits, digest=digest)

    assert CURRENT in list_matching_steps(authenticator, app.at(NOW // 1000), NOW)


# ------------------------------------------------------------------------------ name of the state


def test_the_state_is_that_of_the_secret_and_not_of_the_token():
    other = replace(ACTIVE, id=bytes(16), created_at=1, confirmed_step=1, confirmed_at=1)

    assert UNCONFIRMED.state_id == ACTIVE.state_id == other.state_id
    assert 32 == len(ACTIVE.state_id)


@pytest.mark.parametrize("algorithm", Algorithm)
@given(st.binary(min_size=14, max_size=127))
def test_secrets_with_the_same_codes_have_the_same_state(algorithm, secret):
    """HMAC fills a short key with zero bytes, and replaces a long one by its hash (RFC 2104)."""
    block = 128 if algorithm is Algorithm.SHA512 else 64
    short = secret[: block - 1]
    long = (secret * 10)[: block + 1]
    pairs = [(short, short + bytes(1))]
    if len(long) <= MAX_SECRET_BYTES:
        pairs.append((long, hashlib.new(algorithm, long).digest()))

    for first, second in pairs:
        authenticators = [
            replace(ACTIVE, secret=one, algorithm=algorithm) for one in (first, second)
        ]
        assert 1 == len({one.compute_code(CURRENT) for one in authenticators})
        assert 1 == len({one.state_id for one in authenticators})


def test_codes_of_six_digits_have_the_state_of_those_of_eight():
    """The code of six digits is the end of that of eight, so it was seen with it."""
    eight = replace(ACTIVE, digits=8)

    assert eight.compute_code(CURRENT).endswith(ACTIVE.compute_code(CURRENT))
    assert eight.state_id == ACTIVE.state_id


def test_other_codes_accounts_and_tenants_have_states_of_their_own():
    others = [
        replace(ACTIVE, account="u-82"),
        replace(ACTIVE, tenant="bank"),
        replace(ACTIVE, tenant="shopu", account="-81"),
        replace(ACTIVE, secret=b"x" * 20),
        replace(ACTIVE, period=60),
        replace(ACTIVE, algorithm=Algorithm.SHA256),
    ]

    assert len(others) + 1 == len({one.state_id for one in (ACTIVE, *others)})


# ---------------------------------------------------------------------------- decisions on steps


def decide(
    matches: tuple[int, ...],
    last_step: int | None = None,
    epoch: int = 0,
    authenticator: Authenticator = ACTIVE,
    now: int = NOW,
) -> StepVerdict:
    return decide_step(authenticator, matches, last_step, epoch, now)


def test_a_code_that_does_not_match_is_a_mismatch():
    assert StepVerdict(StepDecision.MISMATCH) == decide(())


@pytest.mark.parametrize("step", [CURRENT - 1, CURRENT, CURRENT + 1])
def test_a_step_after_the_last_one_is_accepted(step):
    assert StepVerdict(StepDecision.ACCEPTED, step) == decide((step,), last_step=step - 1)
    assert StepVerdict(StepDecision.ACCEPTED, step) == decide((step,))


@pytest.mark.parametrize("later", range(3))
def test_a_step_at_or_before_the_last_one_is_used(later):
    """RFC 6238 §5.2: a code is accepted once, and an older one never after a newer one."""
    verdict = decide((CURRENT,), last_step=CURRENT + later)

    assert StepVerdict(StepDecision.USED, CURRENT) == verdict


def test_the_confirming_step_is_used_also_after_redis_was_emptied():
    confirmed = UNCONFIRMED.confirm(CURRENT, NOW)

    for step in (CURRENT - 1, CURRENT):
        assert StepDecision.USED is decide((step,), None, NOW + 1, confirmed).decision
    assert StepDecision.ACCEPTED is decide((CURRENT + 1,), None, NOW, confirmed).decision


EQUAL_NEIGHBOURS_SECRET = "XVW3ZB3JTJ7X66QPCN3V7LXYO2B2LISL"
"""Found by trying a million secrets: its codes of this and the next step are equal."""


def test_of_two_steps_with_the_same_code_the_fresh_one_is_accepted():
    """The first match is the used step: it would make a fresh code look like a replay."""
    authenticator = replace(ACTIVE, secret=parse_base32_secret(EQUAL_NEIGHBOURS_SECRET, 160))
    code = authenticator.compute_code(CURRENT)
    matches = list_matching_steps(authenticator, code, NOW)

    assert (CURRENT, CURRENT + 1) == matches
    verdict = decide(matches, last_step=CURRENT)
    assert StepVerdict(StepDecision.ACCEPTED, CURRENT + 1) == verdict
    assert StepDecision.USED is decide(matches, last_step=CURRENT + 1).decision


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_after_redis_lost_its_data_no_step_up_to_the_next_is_accepted(offset):
    """The step after the present one may have been accepted just before the loss."""
    verdict = decide((CURRENT + offset,), epoch=NOW + 2000, now=NOW + 2000)

    assert StepVerdict(StepDecision.TOO_EARLY, CURRENT + offset, 58) == verdict


def test_after_the_wait_the_code_of_the_present_step_is_accepted():
    epoch = NOW + 2000
    now = NOW + 2000 + 58_000

    step = ACTIVE.compute_step(now)
    assert StepVerdict(StepDecision.ACCEPTED, step) == decide((step,), None, epoch, now=now)
    # A clock that is ahead shows an acceptable code one step earlier.
    assert StepDecision.ACCEPTED is decide((step,), None, epoch, now=now - STEP_MS).decision


@pytest.mark.parametrize("elapsed_ms", [0, 1, STEP_MS - 1])
def test_a_late_code_of_an_unknown_step_is_used_once_a_later_step_has_begun(elapsed_ms):
    """No wait makes it right; the code that the app shows now is accepted."""
    now = NOW + 2 * STEP_MS + elapsed_ms

    assert StepVerdict(StepDecision.USED, CURRENT + 1) == decide((CURRENT + 1,), epoch=NOW, now=now)
    current = StepVerdict(StepDecision.ACCEPTED, CURRENT + 2)
    assert current == decide((CURRENT + 2,), epoch=NOW, now=now)


@given(
    st.sampled_from((10, 20, 30, 60, 120)),
    st.integers(0, 4 * 120_000),
    st.integers(0, 4 * 120_000),
    st.none() | st.integers(-3, 4),
    st.integers(-1, 1),
)
def test_after_exactly_the_wait_the_code_that_the_app_shows_then_is_accepted(
    period, epoch_offset, elapsed_ms, known_offset, offset
):
    authenticator = replace(ACTIVE, period=period)
    epoch = NOW + epoch_offset
    now = epoch + elapsed_ms
    last_step = None if known_offset is None else authenticator.compute_step(now) + known_offset
    step = authenticator.compute_step(now) + offset

    verdict = decide((step,), last_step, epoch, authenticator, now)

    if verdict.decision is StepDecision.TOO_EARLY:
        then = now + verdict.retry_after * 1000
        shown = authenticator.compute_step(then)
        assert (
            StepDecision.ACCEPTED
            is decide((shown,), last_step, epoch, authenticator, then).decision
        )
        before = authenticator.compute_step(then - 1000)
        assert then - 1000 < now or (
            StepDecision.ACCEPTED
            is not decide((before,), last_step, epoch, authenticator, then - 1000).decision
        )


def test_a_known_step_is_used_and_not_too_early():
    """What Redis knows is told before what it may have lost: waiting does not help."""
    verdict = decide((CURRENT,), last_step=CURRENT, epoch=NOW)

    assert StepDecision.USED is verdict.decision


def test_an_authenticator_of_this_epoch_may_log_in_at_once():
    """Redis knows every step that it ever accepted: the first login after an enrolment works."""
    confirmed = UNCONFIRMED.confirm(CURRENT - 1, NOW)

    for epoch in (NOW, NOW - 1):
        assert StepDecision.ACCEPTED is decide((CURRENT,), None, epoch, confirmed).decision
    assert StepDecision.TOO_EARLY is decide((CURRENT,), None, NOW + 1, confirmed).decision


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_an_enrolment_of_an_earlier_epoch_waits_for_its_confirmation(offset):
    """Redis may have lost that the token was confirmed, and what was accepted after that.

    Confirmed again with an older code, it would accept the later ones once more.
    """
    verdict = decide((CURRENT + offset,), None, NOW + 1, UNCONFIRMED)

    assert StepDecision.TOO_EARLY is verdict.decision
    later = CURRENT + 2
    assert StepDecision.ACCEPTED is decide((later,), None, NOW + 1, UNCONFIRMED).decision


def test_an_authenticator_from_the_future_is_of_no_epoch():
    """It was imported on a host whose clock is ahead, so it may be older than the epoch."""
    imported = replace(ACTIVE, created_at=NOW + 1)

    assert StepDecision.TOO_EARLY is decide((CURRENT,), None, NOW, imported).decision


@given(
    st.sets(st.integers(-1, 1), max_size=3),
    st.none() | st.integers(-4, 3),
    st.none() | st.integers(-4, 3),
    st.integers(-4 * STEP_MS, 0),
    st.integers(-4 * STEP_MS, 4 * STEP_MS),
)
def test_an_accepted_step_is_after_everything_that_may_have_been_accepted(
    offsets, last_offset, confirmed_offset, epoch_offset, created_offset
):
    authenticator = replace(ACTIVE, created_at=NOW + created_offset)
    if confirmed_offset is not None:
        authenticator = authenticator.confirm(CURRENT + confirmed_offset, NOW)
    last_step = None if last_offset is None else CURRENT + last_offset
    epoch = NOW + epoch_offset
    matches = tuple(CURRENT + offset for offset in sorted(offsets))

    verdict = decide(matches, last_step, epoch, authenticator)

    confirmed_step, created_at = authenticator.confirmed_step, authenticator.created_at
    assert confirmed_step is not None
    if verdict.decision is StepDecision.ACCEPTED:
        assert verdict.step == max(matches)
        assert verdict.step > confirmed_step
        assert last_step is None or verdict.step > last_step
        assert epoch <= created_at <= NOW or verdict.step > epoch // STEP_MS + 1
    elif verdict.decision is StepDecision.TOO_EARLY:
        assert 1 <= verdict.retry_after <= 2 * 30
    else:
        assert (StepDecision.MISMATCH is verdict.decision) == (not matches)


# --------------------------------------------------------------------------------------- tokens


def open_token(
    token: str, tenant: str = "shop", account: str = "u-81", now: int = NOW
) -> tuple[Authenticator, str]:
    return open_authenticator(CIPHER, token, tenant, account, now)


def test_a_token_opens_for_its_tenant_and_account():
    for authenticator in (UNCONFIRMED, ACTIVE):
        assert (authenticator, "a2") == open_token(authenticator.seal(CIPHER))


@pytest.mark.parametrize(
    ("tenant", "account"),
    [
        ("shop", "u-82"),
        ("shop", "u-8"),
        ("shop", "u-811"),
        ("shop", "U-81"),
        ("shop", ""),
        ("shop", "\uff55-81"),
        ("shop", "u-81\x00"),
        ("bank", "u-81"),
        ("", "u-81"),
        ("shopu", "-81"),
        ("u-81", "shop"),
    ],
)
def test_a_token_does_not_open_for_another_tenant_or_account(tenant, account):
    token = ACTIVE.seal(CIPHER)

    with pytest.raises(errors.InvalidAuthenticator):
        open_token(token, tenant, account)


def test_every_refusal_of_a_token_has_the_same_text():
    """A caller cannot learn which part of a token it has guessed."""
    token = ACTIVE.seal(CIPHER)
    other_kind = CIPHER.seal(TokenKind.RECOVERY_SET, msgspec.msgpack.encode(ACTIVE))
    calls = [
        (token[:-1], "shop", "u-81", NOW),
        ("", "shop", "u-81", NOW),
        (other_kind, "shop", "u-81", NOW),
        (token, "bank", "u-81", NOW),
        (token, "shop", "u-82", NOW),
        (UNCONFIRMED.seal(CIPHER), "shop", "u-81", NOW + UNCONFIRMED_TTL_MS),
        (CIPHER.seal(TokenKind.AUTHENTICATOR, b"\x01"), "shop", "u-81", NOW),
    ]

    texts = set()
    for call in calls:
        with pytest.raises(errors.InvalidAuthenticator) as refusal:
            open_token(*call)
        texts.add(str(refusal.value))
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
    assert 1 == len(texts)


def test_an_altered_token_gives_no_other_error():
    """Every character of a token, by its neighbour in the alphabet."""
    token = ACTIVE.seal(CIPHER)

    for index, character in enumerate(token):
        altered = token[:index] + chr(ord(character) ^ 1) + token[index + 1 :]
        with pytest.raises(errors.InvalidAuthenticator):
            open_token(altered)


def test_an_unconfirmed_token_is_valid_for_thirty_minutes():
    token = UNCONFIRMED.seal(CIPHER)

    assert NOW + 30 * 60 * 1000 == UNCONFIRMED.expires_at
    assert UNCONFIRMED == open_token(token, now=NOW + UNCONFIRMED_TTL_MS - 1)[0]
    with pytest.raises(errors.InvalidAuthenticator):
        open_token(token, now=NOW + UNCONFIRMED_TTL_MS)


def test_an_unconfirmed_token_of_the_future_has_expired():
    """The clock was ahead when it was created; a few seconds are the clock of another replica."""
    token = UNCONFIRMED.seal(CIPHER)

    assert UNCONFIRMED == open_token(token, now=NOW - 5000)[0]
    with pytest.raises(errors.InvalidAuthenticator):
        open_token(token, now=NOW - 5001)


def test_an_active_token_does_not_expire():
    token = ACTIVE.seal(CIPHER)

    assert ACTIVE.expires_at is None
    for now in (0, NOW, NOW * 2):
        assert ACTIVE == open_token(token, now=now)[0]


def test_a_token_under_an_older_key_is_sealed_under_the_current_one():
    old_cipher = TokenCipher(KeyRing((OLD_KEY,)), secrets.token_bytes)

    authenticator, key_id = open_token(ACTIVE.seal(old_cipher))

    assert (ACTIVE, "a1") == (authenticator, key_id)
    assert (ACTIVE, "a2") == open_token(authenticator.seal(CIPHER))


@given(st.text(max_size=128), st.binary(min_size=14, max_size=128), st.sampled_from(Algorithm))
def test_whatever_is_sealed_opens(account, secret, algorithm):
    authenticator = replace(ACTIVE, account=account, secret=secret, algorithm=algorithm)

    assert authenticator == open_token(authenticator.seal(CIPHER), account=account)[0]


def test_the_state_of_an_authenticator_decides_what_can_be_called():
    UNCONFIRMED.check_unconfirmed()
    ACTIVE.check_active()

    with pytest.raises(errors.AuthenticatorNotConfirmed):
        UNCONFIRMED.check_active()
    with pytest.raises(errors.AuthenticatorAlreadyConfirmed):
        ACTIVE.check_unconfirmed()


def test_a_secret_is_not_printed():
    text = f"{ACTIVE!r} {ACTIVE} {ACTIVE.__rich_repr__()}"

    assert ACTIVE.id.hex() in text
    assert "1234567890" not in text
    assert ACTIVE.base32_secret not in text


# -------------------------------------------------------------------------------------- secrets


def test_a_new_secret_has_160_bits_and_the_one_form_that_every_app_supports():
    first, second = (
        create_authenticator(secrets.token_bytes, "shop", "u-81", NOW) for _ in range(2)
    )

    assert first.secret != second.secret
    assert first.id != second.id
    assert 32 == len(first.base32_secret)
    assert (Algorithm.SHA1, 6, 30) == (first.algorithm, first.digits, first.period)
    assert first.confirmed_at is None


BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    "text",
    [
        BASE32,
        BASE32.lower(),
        "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ",
        "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ",
        f"{BASE32}======",
    ],
)
def test_base32_is_read_as_apps_read_it(text):
    assert RFC_SECRET == parse_base32_secret(text, 160)


@given(st.binary(min_size=14, max_size=128))
def test_every_secret_is_read_with_and_without_padding(secret):
    text = replace(ACTIVE, secret=secret).base32_secret

    assert secret == parse_base32_secret(text, MIN_SECRET_BITS)
    assert secret == parse_base32_secret(text + "=" * (-len(text) % 8), MIN_SECRET_BITS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be base32"),
        ("====", "must be base32"),
        (BASE32[:-1] + "1", "must be base32"),
        (BASE32[:-1] + "\uff21", "must be base32"),
        (BASE32 + "\n", "must be base32"),
        (BASE32[:8] + "==" + BASE32[8:], "must be base32"),
        (BASE32 + "A", "missing or wrong at the end"),
        (BASE32 + "AAA", "missing or wrong at the end"),
        (BASE32 + "AB", "missing or wrong at the end"),
        (BASE32[:25] + "Z" + "=" * 6, "missing or wrong at the end"),
        (BASE32[:31], "missing or wrong at the end"),
        (BASE32[:-1] + "\u0131", "must be base32: the letters"),
        (BASE32[:-1] + "\u017f", "must be base32: the letters"),
        (BASE32[:-1] + "\u212a", "must be base32: the letters"),
        (BASE32[:-1] + "\ufb06", "must be base32: the letters"),
        (BASE32[:24], "at least 128 bits, and has 120"),
        ("JBSWY3DPEHPK3PXP", "at least 128 bits, and has 80"),
        ("A" * 208, "at most 1024 bits"),
    ],
)
def test_a_secret_that_is_refused_is_not_repeated(text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        parse_base32_secret(text, MIN_API_SECRET_BITS)

    assert len(text) < 8 or text not in str(refusal.value)


def test_the_longest_secret_is_the_block_of_sha_512():
    assert MAX_SECRET_BYTES == len(parse_base32_secret("A" * 205, MIN_SECRET_BITS))
