"""Which secrets can come from a random generator."""

import os
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.keys import generate_secret, is_random_digest, is_random_secret, parse_key


def test_what_the_system_generates_is_random():
    """Of 20,000 keys of 32 bytes at most one is refused by chance."""
    refused = sum(not is_random_secret(os.urandom(32)) for _ in range(20_000))

    assert refused <= 1


@given(st.text(min_size=32, alphabet=st.characters(exclude_categories=["C"])))
def test_text_is_not_random(text):
    """R11: a sentence as a key is guessed from a list of sentences, in any language."""
    assert not is_random_secret(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "worthless-correct-horse-battery-staple-text",
        "WORTHLESSCORRECTHORSEBATTERYSTAPLEASAPEPPERR",
        "abababababababababababababababababababababa",
        urlsafe_b64encode(b"a worthless pepper of exactly 32 ").decode(),
    ],
)
def test_a_typed_key_is_not_random_either(text):
    """Words can be typed as base64url, too: no character of them has to be decoded."""
    assert not is_random_secret(parse_key("p1", text).secret)


def test_hexadecimal_keys_are_random():
    """`openssl rand -hex 32` is base64url of 48 bytes."""
    assert all(is_random_secret(parse_key("p1", os.urandom(32).hex()).secret) for _ in range(1000))


def test_a_generated_secret_is_never_one_that_looks_typed():
    """R11: one random secret in 300,000 looks like a sentence, and a start with it was refused."""
    unlucky, good = (
        parse_key("p1", "worthless-correct-horse-battery-staple-text").secret,
        os.urandom(32),
    )
    draws = iter([unlucky, b"a" * 32, good])

    text = generate_secret(lambda _: next(draws))

    assert good == parse_key("p1", text).secret


def test_any_hash_is_taken():
    """The hash of an API key is nothing that anybody types, however many letters its base64url has."""
    digest = parse_key("p1", "worthlessXcorrectXhorseXbatteryXstapleXtexty").secret[:32]

    assert is_random_digest(digest)
    assert not is_random_secret(digest)
    assert not is_random_digest(b"\0" * 32)
