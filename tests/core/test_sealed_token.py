"""Tokens open as they were sealed: whole, of one kind, in one text form, under a key of the ring."""

import itertools
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.keys import Key, KeyRing, join_length_prefixed
from otp_service.core.sealed_token import (
    MAX_TOKEN_CHARS,
    InvalidToken,
    OpenedToken,
    TokenCipher,
    TokenKind,
)


OLD_KEY, NEW_KEY = Key("a1", b"o" * 32), Key("a2", b"n" * 32)
BODY = b"a body"


def create_cipher(*keys: Key) -> TokenCipher:
    return TokenCipher(KeyRing(keys), secrets.token_bytes)


CIPHER = create_cipher(NEW_KEY, OLD_KEY)


def encode_token(data: bytes, kind: TokenKind = TokenKind.AUTHENTICATOR) -> str:
    return f"{kind}.{urlsafe_b64encode(data).rstrip(b'=').decode()}"


def decode_token(token: str) -> bytes:
    text = token.partition(".")[2]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@given(st.binary(max_size=1500), st.sampled_from(TokenKind))
def test_a_token_opens_as_it_was_sealed(body, kind):
    token = CIPHER.seal(kind, body)

    assert OpenedToken(body, "a2") == CIPHER.open(kind, token)
    assert token.startswith(f"{kind}.")
    assert token.isascii()
    assert not set(token) & set("=+/ \n")


def test_two_tokens_of_one_body_differ():
    """A nonce is never used twice: equal ciphertexts would show that a caller has a body again."""
    tokens = {CIPHER.seal(TokenKind.AUTHENTICATOR, BODY) for _ in range(100)}

    assert 100 == len(tokens)


def test_a_token_holds_its_body_only_encrypted():
    assert BODY not in decode_token(CIPHER.seal(TokenKind.AUTHENTICATOR, BODY))


def test_a_token_of_another_kind_does_not_open():
    token = CIPHER.seal(TokenKind.RECOVERY_SET, BODY)

    for text in (token, encode_token(decode_token(token))):
        with pytest.raises(InvalidToken):
            CIPHER.open(TokenKind.AUTHENTICATOR, text)


def test_a_token_with_any_bit_flipped_does_not_open():
    """Every bit of every byte: length, key id, nonce, ciphertext and tag."""
    data = decode_token(CIPHER.seal(TokenKind.AUTHENTICATOR, BODY))

    for index in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[index // 8] ^= 1 << index % 8
        with pytest.raises(InvalidToken):
            CIPHER.open(TokenKind.AUTHENTICATOR, encode_token(bytes(flipped)))


def test_a_token_with_any_character_changed_does_not_open():
    """One character at a time, by each of 256 and by some that are not Latin."""
    token = CIPHER.seal(TokenKind.AUTHENTICATOR, BODY)
    others = [*map(chr, range(256)), "\u0130", "\uff21", "\U0001f600"]

    for index, other in itertools.product(range(len(token)), others):
        text = token[:index] + other + token[index + 1 :]
        if text != token:
            with pytest.raises(InvalidToken):
                CIPHER.open(TokenKind.AUTHENTICATOR, text)


def test_a_token_cut_at_any_length_does_not_open():
    token = CIPHER.seal(TokenKind.AUTHENTICATOR, BODY)
    data = decode_token(token)

    cut_texts = [token[:length] for length in range(len(token))]
    cut_texts += [token[length:] for length in range(1, len(token))]
    cut_texts += [encode_token(data[:length]) for length in range(len(data))]
    for text in cut_texts:
        with pytest.raises(InvalidToken):
            CIPHER.open(TokenKind.AUTHENTICATOR, text)


@pytest.mark.parametrize("body_size", range(3))
def test_a_token_has_one_text_form(body_size):
    """Python's decoder accepts each of these as the same bytes."""
    token = CIPHER.seal(TokenKind.AUTHENTICATOR, bytes(body_size))
    kind, _, text = token.partition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bytes = [f"{kind}.{text[:-1]}{last}" for last in alphabet if last != text[-1]]
    same_bytes += [f"{kind}.{text}{'=' * count}" for count in (1, 2, 3, 4)]
    same_bytes += [f"{kind}.{text[:9]}{other}{text[9:]}" for other in " \n\r\t.!=\x00"]
    same_bytes += [f" {token}", f"{token} ", f"{token}\n", f"{kind}.=={text}"]
    same_bytes += [token.translate(str.maketrans("-_", "+/"))] * bool(set(token) & set("-_"))

    for other_text in same_bytes:
        with pytest.raises(InvalidToken):
            CIPHER.open(TokenKind.AUTHENTICATOR, other_text)


@given(st.text(max_size=200))
def test_no_text_of_a_caller_gives_another_error(text):
    for candidate in (text, f"a1.{text}"):
        with pytest.raises(InvalidToken):
            CIPHER.open(TokenKind.AUTHENTICATOR, candidate)


@given(st.binary(max_size=200))
def test_no_bytes_of_a_caller_give_another_error(data):
    with pytest.raises(InvalidToken):
        CIPHER.open(TokenKind.AUTHENTICATOR, encode_token(data))


def test_a_token_that_is_too_long_is_not_even_decoded():
    longest = CIPHER.seal(TokenKind.AUTHENTICATOR, bytes(3000))
    longer = CIPHER.seal(TokenKind.AUTHENTICATOR, bytes(MAX_TOKEN_CHARS))

    assert len(longest) <= MAX_TOKEN_CHARS
    assert bytes(3000) == CIPHER.open(TokenKind.AUTHENTICATOR, longest).body
    with pytest.raises(InvalidToken):
        CIPHER.open(TokenKind.AUTHENTICATOR, longer)


def test_a_token_under_an_older_key_of_the_ring_opens():
    token = create_cipher(OLD_KEY).seal(TokenKind.AUTHENTICATOR, BODY)

    assert OpenedToken(BODY, "a1") == CIPHER.open(TokenKind.AUTHENTICATOR, token)
    assert "a2" == CIPHER.current_key_id


def test_a_token_under_a_key_that_was_removed_does_not_open():
    token = CIPHER.seal(TokenKind.AUTHENTICATOR, BODY)

    with pytest.raises(InvalidToken):
        create_cipher(OLD_KEY).open(TokenKind.AUTHENTICATOR, token)


def test_a_token_does_not_open_under_another_id_of_its_key():
    """The key id is part of what is authenticated, also if both ids have the same secret."""
    token = create_cipher(Key("b1", NEW_KEY.secret)).seal(TokenKind.AUTHENTICATOR, BODY)

    renamed = decode_token(token).replace(b"b1", b"a2")
    for text in (token, encode_token(renamed)):
        with pytest.raises(InvalidToken):
            CIPHER.open(TokenKind.AUTHENTICATOR, text)


def test_the_key_of_tokens_is_derived_from_that_of_the_ring():
    """The key of the ring also hashes recovery codes, and each use has a key of its own."""
    data = decode_token(CIPHER.seal(TokenKind.AUTHENTICATOR, BODY))
    context = join_length_prefixed(b"a", b"1", b"a2")
    derived = NEW_KEY.compute_mac("authenticator token")

    assert b"\x02a2" == data[:3]
    assert BODY == AESGCM(derived).decrypt(data[3:15], data[15:], context)
    with pytest.raises(InvalidTag):
        AESGCM(NEW_KEY.secret).decrypt(data[3:15], data[15:], context)


def test_a_body_is_not_printed():
    opened = CIPHER.open(TokenKind.AUTHENTICATOR, CIPHER.seal(TokenKind.AUTHENTICATOR, BODY))

    assert "OpenedToken(a2)" == repr(opened)
    assert [("key_id", "a2")] == opened.__rich_repr__()
