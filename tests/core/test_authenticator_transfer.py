"""JSON lines of authenticators: what is accepted, what a refusal says, and what an import protects."""

import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.authenticator import (
    UNCONFIRMED_TTL_MS,
    Algorithm,
    Authenticator,
    StepDecision,
    create_authenticator,
    decide_step,
    list_matching_steps,
    open_authenticator,
)
from otp_service.core.authenticator_transfer import (
    ImportLine,
    export_line,
    import_authenticator,
    parse_import_line,
    reseal_line,
)
from otp_service.core.json_lines import MAX_LINE_CHARS, InvalidLine
from otp_service.core.keys import Key, KeyRing
from otp_service.core.otpauth_uri import AuthenticatorParameters
from otp_service.core.sealed_token import TokenCipher, TokenKind


NOW = 1_763_814_012_345
SECRET = b"12345678901234567890"
BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
OLD_KEY, NEW_KEY = Key("a1", b"o" * 32), Key("a2", b"n" * 32)
OLD_CIPHER = TokenCipher(KeyRing((OLD_KEY,)), secrets.token_bytes)
CIPHER = TokenCipher(KeyRing((NEW_KEY, OLD_KEY)), secrets.token_bytes)


def parse_line(*, is_hex: bool = False, **members: object) -> tuple[str, AuthenticatorParameters]:
    return parse_import_line(json.dumps(members), "shop", is_hex=is_hex)


def import_secret(
    account: str = "u-81", tenant: str = "shop", now: int = NOW, **parameters: Any
) -> Authenticator:
    values = AuthenticatorParameters(SECRET, **parameters)
    return import_authenticator(secrets.token_bytes, tenant, account, values, now)


def number_cases(cases: list[tuple[object, str]]) -> list[object]:
    """Return the cases under their numbers: the workers of a run must agree on their names."""
    return [pytest.param(*case, id=str(number)) for number, case in enumerate(cases)]


# ---------------------------------------------------------------------------------------- import


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"secret": BASE32}, AuthenticatorParameters(SECRET)),
        (
            {"secret": BASE32, "algorithm": None, "digits": None, "period": None, "tenant": None},
            AuthenticatorParameters(SECRET),
        ),
        (
            {"secret": BASE32, "algorithm": "sha512", "digits": 8, "period": 60, "tenant": "shop"},
            AuthenticatorParameters(SECRET, Algorithm.SHA512, 8, 60),
        ),
        (
            {"secret": f"otpauth://totp/a:b?secret={BASE32}&algorithm=SHA256"},
            AuthenticatorParameters(SECRET, Algorithm.SHA256),
        ),
        (
            {"secret": f"OTPAUTH://totp/a?secret={BASE32}"},
            AuthenticatorParameters(SECRET),
        ),
    ],
)
def test_a_line_has_an_account_and_a_secret(members, expected):
    assert ("u-81", expected) == parse_line(account="u-81", **members)


@pytest.mark.parametrize("text", [SECRET.hex(), "ab" * 20, "AB" * 20])
def test_a_secret_is_hexadecimal_where_that_is_said(text):
    parameters = AuthenticatorParameters(bytes.fromhex(text))

    assert ("u-81", parameters) == parse_line(is_hex=True, account="u-81", secret=text)


def test_a_uri_is_read_also_where_other_secrets_are_hexadecimal():
    parameters = AuthenticatorParameters(SECRET)
    uri = f"otpauth://totp/a?secret={BASE32}"

    assert ("u-81", parameters) == parse_line(is_hex=True, account="u-81", secret=uri)


@pytest.mark.parametrize(
    ("text", "message"),
    number_cases(
        [
            ("", "not valid JSON"),
            ("{", "not valid JSON"),
            ("{'account': 'u-81'}", "not valid JSON"),
            ('{"account": "m\\xe9", "secret": "x"}', "not valid JSON"),
            ("[" * 30_000, "not valid JSON"),
            ("[]", "not a JSON object"),
            ('"u-81"', "not a JSON object"),
            ('{"account": "a", "account": "b", "secret": "x"}', "a member twice"),
            ('{"account": "' + "a" * MAX_LINE_CHARS + '"}', "more than 65,536 characters"),
            ("{}", "account is missing, and secret is missing"),
            ('{"account": "u-81"}', "secret is missing"),
            (
                f'{{"account": 81, "secret": "{BASE32}"}}',
                "account must be text, not a number",
            ),
            ('{"account": "u-81", "secret": 5}', "secret must be text, not a number"),
            (
                f'{{"account": "u-81", "secret": "{BASE32}", "digits": "6"}}',
                "digits must be a whole number, not text",
            ),
            (
                f'{{"account": "u-81", "secret": "{BASE32}", "digits": true}}',
                "digits must be a whole number, not true or false",
            ),
            (
                f'{{"account": "u-81", "secret": "{BASE32}", "digits": 6.5}}',
                "digits must be a whole number$",
            ),
            (f'{{"account": "u-81", "secret": "{BASE32}", "digits": 5}}', "digits must be 6 to 8"),
            (
                f'{{"account": "u-81", "secret": "{BASE32}", "period": 0}}',
                "period must be 10 to 120",
            ),
            (f'{{"account": "u-81", "secret": "{BASE32}", "algorithm": "MD5"}}', "SHA1, SHA256"),
            (f'{{"account": "u-81", "secret": "{BASE32}", "tenant": "bank"}}', "--tenant"),
            (f'{{"account": "", "secret": "{BASE32}"}}', "1 to 128 characters"),
            (f'{{"account": "{"a" * 129}", "secret": "{BASE32}"}}', "1 to 128 characters"),
            (f'{{"account": "a\\u0000", "secret": "{BASE32}"}}', "without NUL"),
            (f'{{"account": "\\ud800", "secret": "{BASE32}"}}', "1 to 128 characters"),
            ('{"account": "u-81", "secret": "JBSWY3DPEHPK3PXP"}', "at least 112 bits, and has 80"),
            (f'{{"account": "u-81", "secret": "{SECRET.hex()}"}}', "--hex reads hexadecimal"),
            (
                f'{{"account": "u", "secret": "otpauth://totp/a?secret={BASE32}", "digits": 6}}',
                "leave out algorithm, digits and period",
            ),
            (
                f'{{"account": "u", "secret": "otpauth://hotp/a?secret={BASE32}"}}',
                "only time-based",
            ),
            (
                '{"account": "u", "secret": "otpauth-migration://offline?data=CjEK"}',
                "must be base32",
            ),
            (f'{{"account": "u", "secret": "{BASE32}", "{BASE32}": 1}}', "unknown member"),
        ]
    ),
)
def test_a_refused_line_says_why_without_its_values(text, message):
    with pytest.raises(InvalidLine, match=message) as refusal:
        parse_import_line(text, "shop", is_hex=False)

    for value in (BASE32, SECRET.hex(), "JBSWY3DPEHPK3PXP"):
        assert value not in str(refusal.value)


@pytest.mark.parametrize(
    ("secret", "message"),
    number_cases(
        [
            (SECRET.hex()[:-1], "even number"),
            (BASE32, "even number"),
            ("", "even number"),
            (f"0x{SECRET.hex()}", "even number"),
            ("31 32", "even number"),
            ("\uff11" * 40, "even number"),
            (SECRET.hex()[:26], "at least 112 bits, and has 104"),
            ("ab" * 129, "at most 1024 bits"),
        ]
    ),
)
def test_a_refused_hexadecimal_secret_says_why(secret, message):
    with pytest.raises(InvalidLine, match=message):
        parse_line(is_hex=True, account="u-81", secret=secret)


def test_a_line_is_not_printed():
    assert "ImportLine()" == repr(ImportLine("u-81", BASE32))


@given(st.text(max_size=60))
def test_no_line_gives_another_error(text):
    for line in (text, json.dumps({"account": text, "secret": text}), f'{{"secret": {text}}}'):
        with pytest.raises(InvalidLine):
            parse_import_line(line, "shop", is_hex=False)
        with pytest.raises(InvalidLine):
            export_line(CIPHER, line)
        with pytest.raises(InvalidLine):
            reseal_line(CIPHER, line)


# ------------------------------------------------------------------- what an import protects


@pytest.mark.parametrize("period", [10, 30, 60, 120])
def test_no_code_that_the_other_system_has_seen_is_accepted_after_an_import(period):
    """It accepts the present step and one either way: those are used here."""
    imported = import_secret(period=period)
    current = imported.compute_step(NOW)

    for step in range(current - 3, current + 2):
        for now in range(NOW, NOW + 3 * period * 1000, period * 250):
            matches = list_matching_steps(imported, imported.compute_code(step), now)
            verdict = decide_step(imported, matches, None, NOW - 1, now)
            assert StepDecision.ACCEPTED is not verdict.decision

    matches = list_matching_steps(imported, imported.compute_code(current + 2), NOW + period * 1000)
    verdict = decide_step(imported, matches, None, NOW - 1, NOW + period * 1000)
    assert (StepDecision.ACCEPTED, current + 2) == (verdict.decision, verdict.step)


def test_an_imported_authenticator_is_active_and_opens_for_its_account():
    token = import_secret().seal(CIPHER)

    for now in (NOW, NOW + UNCONFIRMED_TTL_MS):
        opened, key_id = open_authenticator(CIPHER, token, "shop", "u-81", now)
        opened.check_active()
        assert "a2" == key_id


def test_a_repeated_import_has_the_same_state():
    """Steps are stored by it: two names would accept one code twice. Events tell the imports apart."""
    first, second = import_secret(), import_secret(now=NOW + 86_400_000)

    assert first.state_id == second.state_id
    assert first.id != second.id
    assert 16 == len(first.id)


# ----------------------------------------------------------------------------- export and reseal


def test_what_is_exported_can_be_imported():
    imported = import_secret(digits=8, period=60)
    exported = export_line(CIPHER, json.dumps({"authenticator": imported.seal(OLD_CIPHER)}))

    account, parameters = parse_import_line(json.dumps(exported), "shop", is_hex=False)

    assert {
        "tenant": "shop",
        "account": "u-81",
        "secret": BASE32,
        "algorithm": "SHA1",
        "digits": 8,
        "period": 60,
        "created_at": "2025-11-22T12:20:12.345Z",
        "confirmed_at": "2025-11-22T12:20:12.345Z",
    } == exported
    again = import_authenticator(secrets.token_bytes, "shop", account, parameters, NOW)
    assert imported == replace(again, id=imported.id)
    assert imported.state_id == again.state_id


def build_token_line(**members: object) -> str:
    return json.dumps({"authenticator": import_secret().seal(CIPHER), **members})


UNCONFIRMED_TOKEN = create_authenticator(secrets.token_bytes, "shop", "u-81", NOW).seal(CIPHER)
RECOVERY_TOKEN = CIPHER.seal(TokenKind.RECOVERY_SET, b"a body")


@pytest.mark.parametrize(
    ("line", "message"),
    number_cases(
        [
            ("{}", "must have the member authenticator"),
            (build_token_line(authenticator=None), "must have the member authenticator"),
            (build_token_line(authenticator=5), "must have the member authenticator"),
            (build_token_line(authenticator="a1."), "not a token that a key of"),
            (build_token_line(authenticator=RECOVERY_TOKEN), "not a token that a key of"),
            (build_token_line(account="u-82"), "account is not that of"),
            (build_token_line(account=81), "account is not that of"),
            (build_token_line(authenticator=UNCONFIRMED_TOKEN), "is unconfirmed"),
        ]
    ),
)
def test_a_refused_export_says_why(line, message):
    with pytest.raises(InvalidLine, match=message):
        export_line(CIPHER, line)


def test_an_export_checks_the_account_that_a_line_names():
    assert BASE32 == export_line(CIPHER, build_token_line(account="u-81", row=5))["secret"]


def test_a_reseal_moves_both_kinds_of_tokens_to_the_current_key():
    """Whatever else a line has stays: it names the row that is updated."""
    imported = import_secret()
    line = {
        "row": [1, 2.5, None],
        "authenticator": imported.seal(OLD_CIPHER),
        "recovery_set": OLD_CIPHER.seal(TokenKind.RECOVERY_SET, b"a body"),
    }

    members, resealed = reseal_line(CIPHER, json.dumps(line))

    assert (["row", "authenticator", "recovery_set"], 2) == (list(members), resealed)
    assert [1, 2.5, None] == members["row"]
    only_new = TokenCipher(KeyRing((NEW_KEY,)), secrets.token_bytes)
    opened = open_authenticator(only_new, members["authenticator"], "shop", "u-81", NOW)
    assert (imported, "a2") == opened
    assert b"a body" == only_new.open(TokenKind.RECOVERY_SET, members["recovery_set"]).body


def test_a_reseal_leaves_what_is_under_the_current_key():
    """Repeating it changes nothing. A user without a token stays without one."""
    line = {"authenticator": import_secret().seal(CIPHER), "recovery_set": None}

    assert (line, 0) == reseal_line(CIPHER, json.dumps(line))


def test_an_unconfirmed_token_is_resealed_as_it_is():
    members, resealed = reseal_line(
        CIPHER,
        json.dumps({"authenticator": create_authenticator(bytes, "s", "u", NOW).seal(OLD_CIPHER)}),
    )

    opened, _ = open_authenticator(CIPHER, members["authenticator"], "s", "u", NOW)
    assert (NOW, None, 1) == (opened.created_at, opened.confirmed_at, resealed)


@pytest.mark.parametrize(
    ("line", "message"),
    number_cases(
        [
            ("{}", "must have a member authenticator or recovery_set"),
            ('{"authenticator": 5}', "must have the member authenticator"),
            ('{"authenticator": "a1.AAAA"}', "authenticator is not a token"),
            (f'{{"authenticator": "{RECOVERY_TOKEN}"}}', "authenticator is not a token"),
            (f'{{"recovery_set": "{UNCONFIRMED_TOKEN}"}}', "recovery_set is not a token"),
            (
                f'{{"recovery_set": "{RECOVERY_TOKEN}", "authenticator": ""}}',
                "authenticator is not",
            ),
        ]
    ),
)
def test_a_refused_reseal_says_why(line, message):
    with pytest.raises(InvalidLine, match=message):
        reseal_line(CIPHER, line)


def test_the_token_of_the_key_that_was_removed_is_named_without_its_text():
    token = import_secret().seal(CIPHER)

    with pytest.raises(InvalidLine) as refusal:
        reseal_line(OLD_CIPHER, json.dumps({"authenticator": token}))

    assert token not in str(refusal.value)
