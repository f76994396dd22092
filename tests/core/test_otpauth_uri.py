"""The URI of an app: what other parsers read in it, and what an import reads in those of others."""

import unicodedata
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.authenticator import Algorithm, Authenticator, create_authenticator
from otp_service.core.messages import validate_brand
from otp_service.core.otpauth_uri import (
    MAX_LABEL_CHARS,
    AuthenticatorParameters,
    build_otpauth_uri,
    check_label,
    format_issuer,
    parse_otpauth_uri,
)


SECRET = b"12345678901234567890"
BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
AUTHENTICATOR = create_authenticator(bytes, "shop", "u-81", 0, SECRET)


def build_uri(
    issuer: str = "Example", name: str = "alice", authenticator: Authenticator = AUTHENTICATOR
) -> str:
    return build_otpauth_uri(authenticator, issuer, name)


def read_as_app(uri: str) -> tuple[str, str, dict[str, str]]:
    """Return issuer and name of the label, and the parameters, as the Key Uri Format defines them.

    Strict, as some apps are: a literal colon, `%20` for a space, no parameter twice.
    """
    parts = urlsplit(uri)
    assert ("otpauth", "totp") == (parts.scheme, parts.netloc)
    issuer, name = parts.path.removeprefix("/").split(":")
    assert "+" not in uri
    parameters = parse_qs(parts.query, strict_parsing=True)
    assert all(len(values) == 1 for values in parameters.values())
    return unquote(issuer), unquote(name), {key: values[0] for key, values in parameters.items()}


def test_every_parameter_is_explicit():
    """Apps differ in what they assume: WorkOS and pyotp leave out defaults, Twilio and Auth0 do not."""
    assert build_uri("The Shop", "alice@example.com") == (
        "otpauth://totp/The%20Shop:alice%40example.com"
        f"?secret={BASE32}&issuer=The%20Shop&algorithm=SHA1&digits=6&period=30"
    )


def test_an_imported_form_is_in_the_uri():
    authenticator = replace(AUTHENTICATOR, algorithm=Algorithm.SHA256, digits=8, period=60)

    parameters = read_as_app(build_uri(authenticator=authenticator))[2]

    assert ("SHA256", "8", "60") == tuple(
        parameters[key] for key in ("algorithm", "digits", "period")
    )


def is_label(text: str) -> bool:
    """Return whether the text can be a label, by rules that are written independently."""
    invisible = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    blank = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    blank += "\U00016fe4\U0001d159" + "".join(map(chr, range(0xFE00, 0xFE10)))
    is_selector = any("\U000e0100" <= char <= "\U000e01ef" for char in text)
    has_invisible = is_selector or any(
        unicodedata.category(char) in invisible or char in blank for char in text
    )
    return bool(text.strip()) and len(text) <= 64 and ":" not in text and not has_invisible


LABELS = st.text(
    st.characters(
        exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"], exclude_characters=":"
    ),
    min_size=1,
    max_size=64,
).filter(is_label)


@given(LABELS, LABELS)
def test_an_app_reads_issuer_and_name_as_they_are(issuer, name):
    uri = build_uri(issuer, name)

    assert uri.isascii()
    assert (issuer, name) == read_as_app(uri)[:2]
    assert issuer == read_as_app(uri)[2]["issuer"]


@given(LABELS, LABELS, st.binary(min_size=14, max_size=64), st.sampled_from(Algorithm))
def test_an_independent_parser_computes_the_same_codes(issuer, name, secret, algorithm):
    """pyotp parses the URI, and plays the app."""
    authenticator = replace(AUTHENTICATOR, secret=secret, algorithm=algorithm, digits=8)

    app = pyotp.parse_uri(build_uri(issuer, name, authenticator))

    assert isinstance(app, pyotp.TOTP)
    assert (issuer, name) == (app.issuer, app.name)
    assert authenticator.compute_code(1_000_000) == app.at(30 * 1_000_000)


@given(st.text(max_size=70))
def test_what_cannot_be_a_label_is_refused(text):
    assume(not is_label(text))

    for labels in ((text, "alice"), ("Example", text)):
        with pytest.raises(ValueError, match=r"^must "):
            build_uri(*labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 to 64 characters"),
        (" ", "1 to 64 characters"),
        ("a" * 65, "1 to 64 characters"),
        ("Acme: Co", "colon"),
        ("alice\n", "control characters"),
        ("alice\x00", "control characters"),
        ("alice\u202e", "control characters"),
        ("alice\u2028", "control characters"),
        ("alice\u200b", "control characters"),
        ("\u3164", "invisible characters"),
        ("\u2800\u2800", "invisible characters"),
        ("alice\ufe0f", "invisible characters"),
        ("al\u034fice", "invisible characters"),
    ],
)
def test_the_refusal_of_a_label_names_the_reason(text, message):
    with pytest.raises(ValueError, match=message):
        check_label(text)


@pytest.mark.parametrize("name", ["alice \u2764\ufe0f", "\U0001f469\u200d\U0001f4bb alice"])
def test_a_name_may_have_emoji(name):
    assert ("Example", name) == read_as_app(build_uri(name=name))[:2]


@pytest.mark.parametrize("char", "\u3164\u2800\u034f\ufe0f\u180b")
def test_a_brand_that_could_be_no_issuer_is_refused_at_the_start(char):
    """An enrolment would fail otherwise."""
    with pytest.raises(ValueError, match="cannot be seen"):
        validate_brand(f"Shop{char}")


@pytest.mark.parametrize(
    ("brand", "issuer"), [("The Shop", "The Shop"), ("Shop: Co", "Shop Co"), ("a:b", "a b")]
)
def test_the_issuer_of_a_brand_has_no_colon(brand, issuer):
    """Messages allow a colon in the brand, and apps do not."""
    validate_brand(brand)

    assert issuer == format_issuer(brand)
    check_label(format_issuer(brand))
    assert MAX_LABEL_CHARS == len(format_issuer("a" * 70))


# ---------------------------------------------------------------------------------------- import


@given(
    st.binary(min_size=14, max_size=64),
    st.sampled_from(Algorithm),
    st.integers(6, 8),
    st.integers(10, 120),
)
def test_our_own_uri_is_read_back(secret, algorithm, digits, period):
    parameters = AuthenticatorParameters(secret, algorithm, digits, period)
    authenticator = replace(
        AUTHENTICATOR, secret=secret, algorithm=algorithm, digits=digits, period=period
    )

    assert parameters == parse_otpauth_uri(build_uri(authenticator=authenticator), 112)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (f"otpauth://totp/alice?secret={BASE32}", AuthenticatorParameters(SECRET)),
        (f"otpauth://totp/?secret={BASE32}", AuthenticatorParameters(SECRET)),
        (f"otpauth://totp?secret={BASE32}", AuthenticatorParameters(SECRET)),
        (f"OTPAUTH://TOTP/a?SECRET={BASE32.lower()}", AuthenticatorParameters(SECRET)),
        (
            f"otpauth://totp/A%3Ab?secret={BASE32}&image=x&counter=1",
            AuthenticatorParameters(SECRET),
        ),
        (
            f"otpauth://totp/a?secret={BASE32}&algorithm=HmacSHA512&digits=8&period=60",
            AuthenticatorParameters(SECRET, Algorithm.SHA512, 8, 60),
        ),
        (
            f"otpauth://totp/a?secret={BASE32}&algorithm=sha-256",
            AuthenticatorParameters(SECRET, Algorithm.SHA256),
        ),
    ],
)
def test_uris_of_other_systems_are_read(uri, expected):
    assert expected == parse_otpauth_uri(uri, 112)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "must begin with otpauth://totp/"),
        (f"https://totp/a?secret={BASE32}", "must begin with otpauth://totp/"),
        (f"otpauth://hotp/a?secret={BASE32}&counter=1", "only time-based"),
        (f"otpauth://steam/a?secret={BASE32}", "only time-based"),
        ("otpauth-migration://offline?data=CjEK", "must begin with otpauth://totp/"),
        ("otpauth://totp/a", "parameter secret"),
        ("otpauth://totp/a?secret=", "base32"),
        ("otpauth://totp/a?secret=JBSWY3DPEHPK3PXP", "at least 112 bits"),
        (f"otpauth://totp/a?secret={BASE32}&secret={BASE32}", "parameter twice"),
        (f"otpauth://totp/a?secret={BASE32}&Secret={BASE32}", "parameter twice"),
        (f"otpauth://totp/a?secret={BASE32}&algorithm=MD5", "SHA1, SHA256 or SHA512"),
        (f"otpauth://totp/a?secret={BASE32}&digits=5", "digits must be 6 to 8"),
        (f"otpauth://totp/a?secret={BASE32}&digits=9", "digits must be 6 to 8"),
        (f"otpauth://totp/a?secret={BASE32}&digits=%EF%BC%96", "digits must be a number"),
        (f"otpauth://totp/a?secret={BASE32}&digits=", "digits must be a number"),
        (f"otpauth://totp/a?secret={BASE32}&period=0", "period must be 10 to 120"),
        (f"otpauth://totp/a?secret={BASE32}&period=300", "period must be 10 to 120"),
        (f"otpauth://totp/a?secret={BASE32}&period=-30", "period must be a number"),
        (f"otpauth://totp/a?secret={BASE32}&period={'9' * 1000}", "period must be a number"),
        (f"otpauth://totp/a?secret={BASE32}&encoder=steam", "encoder"),
        (f"otpauth://totp/a?secret={BASE32}\n", "printable ASCII"),
        (f"otpauth://totp/ä?secret={BASE32}", "printable ASCII"),
        (f"otpauth://totp/a?secret={BASE32}&x={'y' * 2048}", "printable ASCII"),
        (f"otpauth://[/a?secret={BASE32}", "must be an otpauth"),
    ],
)
def test_a_uri_that_is_refused_is_not_repeated(uri, message):
    with pytest.raises(ValueError, match=message) as refusal:
        parse_otpauth_uri(uri, 112)

    assert BASE32 not in str(refusal.value)


@given(st.text(max_size=100))
def test_no_text_gives_another_error(text):
    for uri in (text, f"otpauth://totp/{text}", f"otpauth://totp/a?secret={BASE32}&{text}"):
        try:
            parse_otpauth_uri(uri, 112)
        except ValueError as error:
            assert type(error) is ValueError  # noqa: PT017  # a subclass would have another text


def test_a_secret_is_not_printed():
    parameters = AuthenticatorParameters(SECRET)

    assert "AuthenticatorParameters(sha1, 6, 30)" == repr(parameters)
    assert "secret" not in dict(parameters.__rich_repr__())
