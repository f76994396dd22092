"""Recovery codes: their form, what a set holds of them, and which tokens open."""

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.argon2_profile import TEST_PROFILE, Argon2Profile
from otp_service.core.errors import InvalidRecoverySet, MalformedCode
from otp_service.core.keys import Key, KeyRing
from otp_service.core.recovery_codes import (
    CODE_ALPHABET,
    CODE_COUNT,
    MALFORMED_CODE_DETAIL,
    RECOVERY_SET_TTL_MS,
    RecoverySet,
    build_recovery_set,
    compute_code_hash,
    decode_recovery_set,
    generate_recovery_codes,
    normalize_recovery_code,
    open_recovery_set,
)
from otp_service.core.sealed_token import InvalidToken, TokenCipher, TokenKind
from otp_service.hashing import compute_argon2id
from otp_service.schemas import RecoveryCode


OLD_KEY, NEW_KEY = Key("a1", bytes(range(32))), Key("a2", bytes(range(32, 64)))
CIPHER = TokenCipher(KeyRing((NEW_KEY, OLD_KEY)), os.urandom)
NOW = 1_795_512_600_123
SALT = b"sixteen bytes!!!"
CODES = generate_recovery_codes(os.urandom)
TYPED_CODES = st.text(st.sampled_from(CODE_ALPHABET), min_size=16, max_size=16)


def build_set(
    key: Key = NEW_KEY,
    *,
    tenant: str = "shop",
    account: str = "u-81",
    profile: Argon2Profile = TEST_PROFILE,
) -> RecoverySet:
    """Return the set of CODES."""
    return build_recovery_set(
        key,
        id_=b"id of 16 bytes..",
        tenant=tenant,
        account=account,
        now=NOW,
        salt=SALT,
        profile=profile,
        argon2_hashes=[compute_argon2id(profile, c.replace("-", ""), SALT) for c in CODES],
    )


def hash_typed(recovery_set: RecoverySet, text: str) -> bytes:
    """Return the hash of a typed code, as a verify computes it."""
    code = normalize_recovery_code(text)
    slow = compute_argon2id(recovery_set.profile, code, recovery_set.salt)
    return compute_code_hash(recovery_set.hash_key, slow)


SET = build_set()


def test_a_set_has_ten_codes_of_four_groups_of_four():
    assert CODE_COUNT == len(set(CODES))
    for code in CODES:
        assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}", code)


def test_a_code_has_every_bit_of_ten_random_bytes():
    """80 bits. The characters are the bytes in base32, so no two values share a code."""
    blocks = [bytes(10), bytes(range(10)), b"\xff" * 10, *(os.urandom(10) for _ in range(7))]
    drawn = iter(blocks)

    codes = generate_recovery_codes(lambda count: next(drawn)[:count])

    assert "0000-0000-0000-0000" == codes[0]
    assert "ZZZZ-ZZZZ-ZZZZ-ZZZZ" == codes[2]
    for block, code in zip(blocks, codes, strict=True):
        number = 0
        for character in code.replace("-", ""):
            number = number * 32 + CODE_ALPHABET.index(character)
        assert int.from_bytes(block, "big") == number


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("7K3M-9QXT-2ZRD-V8HA", "7K3M9QXT2ZRDV8HA"),
        ("7k3m-9qxt-2zrd-v8ha", "7K3M9QXT2ZRDV8HA"),
        ("7k3M9qXt2ZrDv8Ha", "7K3M9QXT2ZRDV8HA"),
        (" 7K3M 9QXT  2ZRD-V8HA ", "7K3M9QXT2ZRDV8HA"),
        ("--7K3M9QXT2ZRDV8HA--", "7K3M9QXT2ZRDV8HA"),
        ("IiLl-OoOo-1100-AAAA", "111100001100AAAA"),
    ],
)
def test_case_and_separators_are_ignored_and_similar_letters_are_digits(typed, code):
    """People copy from paper."""
    assert code == normalize_recovery_code(typed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " - ",
        "7K3M-9QXT-2ZRD-V8H",
        "7K3M-9QXT-2ZRD-V8HA7",
        "7K3M-9QXT-2ZRD-V8HU",
        "7K3M_9QXT_2ZRD_V8HA",
        "7K3M-9QXT-2ZRD-V8HA\n",
        "7K3M\t9QXT-2ZRD-V8HA",
        "7K3M-9QXT-2ZRD-V8H\x00",
        "7K3M\u20139QXT\u20132ZRD\u2013V8HA",
        "7K3M\u00a09QXT-2ZRD-V8HA",
        "\uff17K3M-9QXT-2ZRD-V8HA",
        "\u0667K3M-9QXT-2ZRD-V8HA",
        "\u0131000-0000-0000-0000",
        "\u017f000-0000-0000-0000",
        "\u212a000-0000-0000-0000",
        "\u00df00-0000-0000-0000",
        "123456",
        "A" * 100_000,
        "7K3M9QXT2ZRDV8HA" + " " * 100_000,
        "7K3M9QXT2ZRDV8HA" + "-" * 49,
    ],
    ids=range(21),
)
def test_anything_else_is_malformed(text):
    """R8, R23: digits of other scripts, letters that become ASCII as capitals, and 100 kB."""
    with pytest.raises(MalformedCode) as refused:
        normalize_recovery_code(text)

    assert (("code", "must be 16 letters and digits, in groups of four"),) == refused.value.errors
    assert MALFORMED_CODE_DETAIL == str(refused.value)
    assert "The letter U is not used." in str(refused.value)


@pytest.mark.parametrize("char", [chr(code) for code in range(128)])
def test_the_documented_pattern_admits_what_is_accepted(char):
    """A client that checks codes by openapi.yaml refuses the same: U is not used."""
    schema = get_args(RecoveryCode)[1].extra_json_schema
    code = f"7K3M-9QXT-2ZRD-V8H{char}"
    try:
        normalize_recovery_code(code)
    except MalformedCode:
        is_accepted = False
    else:
        is_accepted = True

    assert is_accepted == bool(re.search(schema["pattern"], code))


@given(st.text(max_size=40))
def test_what_is_normalized_is_a_code_and_stays_the_same(text):
    try:
        code = normalize_recovery_code(text)
    except MalformedCode:
        return
    assert code == normalize_recovery_code(code)
    assert {*code} <= {*CODE_ALPHABET}
    assert 16 == len(code)


@given(TYPED_CODES, st.data())
def test_every_way_to_type_a_code_is_the_same_code(code, data):
    spellings = {"0": "0oO", "1": "1iIlL"}
    typed = ""
    for character in code:
        choices = spellings.get(character, character + character.lower())
        typed += data.draw(st.sampled_from(choices)) + data.draw(st.sampled_from(["", "-", " "]))

    assert code == normalize_recovery_code(typed)


def test_every_code_of_a_set_matches_its_own_hash_alone():
    """However it is typed."""
    assert CODE_COUNT == SET.codes_left == len(SET.hashes)
    for position, code in enumerate(CODES):
        assert SET.hashes[position] == hash_typed(SET, code) == hash_typed(SET, code.lower())
        assert 1 == SET.hashes.count(hash_typed(SET, code))


def test_used_codes_are_not_left():
    used = replace(SET, hashes=(None, *SET.hashes[1:9], None))

    assert 8 == used.codes_left
    assert 0 == replace(SET, hashes=(None,) * 10).codes_left


def test_a_hash_is_bound_to_its_set_tenant_account_and_key():
    """A hash that is copied into another set matches nothing there."""
    (first, *_) = SET.hashes
    others = [
        build_set(tenant="bank"),
        build_set(account="u-82"),
        build_set(OLD_KEY),
        build_set(profile=Argon2Profile(memory_kib=16, passes=1, lanes=1)),
        build_recovery_set(
            NEW_KEY,
            id_=b"another id......",
            tenant="shop",
            account="u-81",
            now=NOW,
            salt=SALT,
            profile=TEST_PROFILE,
            argon2_hashes=[compute_argon2id(TEST_PROFILE, CODES[0].replace("-", ""), SALT)],
        ),
    ]

    for other in others:
        assert first not in other.hashes
        assert other.hashes[0] == hash_typed(other, CODES[0])


def test_fields_cannot_be_moved_into_each_other():
    """A tenant and an account that are the same text together are two bindings."""
    assert build_set(tenant="shop", account="u-81").hash_key != (
        build_set(tenant="shopu", account="-81").hash_key
    )


def test_a_set_is_compared_under_the_parameters_it_was_made_with():
    """The configuration changes within the 400 days of a set; its codes stay valid."""
    older = Argon2Profile(memory_kib=24, passes=2, lanes=3)
    opened, _ = open_recovery_set(
        CIPHER, build_set(profile=older).seal(CIPHER), "shop", "u-81", NOW
    )

    assert older == opened.profile
    assert opened.hashes[3] == hash_typed(opened, CODES[3])
    with_present = compute_argon2id(TEST_PROFILE, normalize_recovery_code(CODES[3]), opened.salt)
    assert compute_code_hash(opened.hash_key, with_present) not in opened.hashes


def test_a_live_set_survives_the_whole_rotation_of_its_key():
    """Sealed under the new key, it needs neither the old key nor its codes."""
    before = TokenCipher(KeyRing((OLD_KEY,)), os.urandom)
    during = TokenCipher(KeyRing((NEW_KEY, OLD_KEY)), os.urandom)
    after = TokenCipher(KeyRing((NEW_KEY,)), os.urandom)
    token = build_set(OLD_KEY).seal(before)

    opened, key_id = open_recovery_set(during, token, "shop", "u-81", NOW)
    resealed = opened.seal(during)

    assert "a1" == key_id
    with pytest.raises(InvalidRecoverySet):
        open_recovery_set(after, token, "shop", "u-81", NOW)
    moved, key_id = open_recovery_set(after, resealed, "shop", "u-81", NOW)
    assert (opened, "a2") == (moved, key_id)
    assert [hash_typed(moved, code) for code in CODES] == [*moved.hashes]


@pytest.mark.parametrize(("tenant", "account"), [("bank", "u-81"), ("shop", "u-82"), ("", "")])
def test_a_set_of_another_tenant_or_account_is_invalid(tenant, account):
    """It opens, because the key ring is that of all tenants, and is refused after that."""
    with pytest.raises(InvalidRecoverySet):
        open_recovery_set(CIPHER, SET.seal(CIPHER), tenant, account, NOW)


def test_an_account_of_any_script_opens_its_set():
    recovery_set = build_set(account="søren 🔑" * 16)

    opened, _ = open_recovery_set(
        CIPHER, recovery_set.seal(CIPHER), "shop", recovery_set.account, NOW
    )

    assert recovery_set == opened


@pytest.mark.parametrize(
    ("age", "is_valid"),
    [
        (0, True),
        (RECOVERY_SET_TTL_MS - 1, True),
        (RECOVERY_SET_TTL_MS, False),
        (RECOVERY_SET_TTL_MS * 3, False),
        (-5_000, True),
        (-5_001, False),
    ],
)
def test_a_token_expires_400_days_after_it_was_sealed(age, is_valid):
    """The instant of sealing counts, and not that of the creation."""
    token = replace(SET, created_at=1, sealed_at=NOW).seal(CIPHER)

    assert 400 * 86_400_000 == RECOVERY_SET_TTL_MS
    if is_valid:
        open_recovery_set(CIPHER, token, "shop", "u-81", NOW + age)
    else:
        with pytest.raises(InvalidRecoverySet):
            open_recovery_set(CIPHER, token, "shop", "u-81", NOW + age)


def test_a_token_that_is_changed_at_any_byte_is_invalid():
    """Each bit, and each cut: one error for all."""
    token = SET.seal(CIPHER)
    data = bytearray(urlsafe_b64decode(token[3:] + "=" * (-len(token[3:]) % 4)))
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        text = "r1." + urlsafe_b64encode(changed).rstrip(b"=").decode()
        for candidate in (text, token[:place]):
            with pytest.raises(InvalidRecoverySet):
                open_recovery_set(CIPHER, candidate, "shop", "u-81", NOW)


def test_a_token_of_another_kind_is_invalid():
    body = msgspec.msgpack.encode(SET)
    token = CIPHER.seal(TokenKind.AUTHENTICATOR, body)

    for text in (token, token.replace("a1.", "r1.")):
        with pytest.raises(InvalidRecoverySet):
            open_recovery_set(CIPHER, text, "shop", "u-81", NOW)


@pytest.mark.parametrize("body", [b"", b"\x90", msgspec.msgpack.encode({}), b"\xff" * 40])
def test_a_body_that_is_no_set_is_an_invalid_token(body):
    """Such as one of a later version, sealed with our key."""
    token = CIPHER.seal(TokenKind.RECOVERY_SET, body)

    with pytest.raises(InvalidToken):
        decode_recovery_set(CIPHER, token)
    with pytest.raises(InvalidRecoverySet):
        open_recovery_set(CIPHER, token, "shop", "u-81", NOW)


def test_the_command_line_opens_a_set_of_any_account():
    """It has the key ring alone."""
    assert (SET, "a2") == decode_recovery_set(CIPHER, SET.seal(CIPHER))


def test_a_token_fits_into_its_limit_and_holds_no_code():
    """The longest tenant and account, in four bytes a character."""
    longest = build_set(tenant="t" * 32, account="🔑" * 128)

    assert len(longest.seal(CIPHER)) < 2048
    body = msgspec.msgpack.encode(SET)
    for code in CODES:
        assert code.encode() not in body
        assert code.replace("-", "").encode() not in body


def test_a_set_is_not_printed():
    """Neither its hashes nor its hash key."""
    assert f"RecoverySet({SET.id.hex()})" == repr(SET) == str(SET)
    assert [("id", SET.id.hex())] == SET.__rich_repr__()
