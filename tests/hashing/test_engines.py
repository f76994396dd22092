"""The installed engines: identical outputs, the known answers, and what is missing or broken."""

import importlib
import logging
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import example, given
from hypothesis import strategies as st

from otp_service.core.argon2_profile import TEST_PROFILE, Argon2Profile
from otp_service.hashing.engine_choice import KNOWN_ANSWERS
from otp_service.hashing.engines import (
    ARGON2_CFFI,
    HASH_BYTES,
    Argon2Error,
    Engine,
    load_engines,
)
from otp_service.hashing.libsodium import LibsodiumEngine


ENGINES: tuple[Engine, ...] = (ARGON2_CFFI, LibsodiumEngine())
SALT = b"sixteen bytes!!!"


def compute_with_openssl(profile: Argon2Profile, code: str, salt: bytes) -> bytes:
    """Return argon2id by a third implementation, which the service does not use."""
    derivation = Argon2id(
        salt=salt,
        length=HASH_BYTES,
        iterations=profile.passes,
        lanes=profile.lanes,
        memory_cost=profile.memory_kib,
    )
    return derivation.derive(code.encode())


@st.composite
def profiles(draw: st.DrawFn) -> Argon2Profile:
    lanes = draw(st.sampled_from([1, 1, 2, 4]))
    memory_kib = draw(st.integers(8 * lanes, 300))
    return Argon2Profile(memory_kib, draw(st.integers(1, 4)), lanes)


@given(
    profile=profiles(),
    code=st.text(st.characters(exclude_categories=["Cs"])),
    salt=st.binary(min_size=16, max_size=16) | st.binary(min_size=8, max_size=48),
)
@example(TEST_PROFILE, "", bytes(16))
@example(TEST_PROFILE, "\0", bytes(16))
@example(Argon2Profile(7168, 5, 1), "123456", SALT)
def test_the_outputs_of_all_engines_are_identical(
    profile: Argon2Profile, code: str, salt: bytes
) -> None:
    """A code that was issued with one engine is verified with any other one."""
    expected = compute_with_openssl(profile, code, salt)

    hashes = [e.compute(profile, code, salt) for e in ENGINES if e.supports(profile, salt)]

    assert {expected} == {*hashes}
    assert HASH_BYTES == len(expected)


def test_the_known_answers_are_of_an_implementation_that_gives_the_vector_of_rfc_9106() -> None:
    """RFC 9106 §5.3 has a secret and associated data, which neither engine takes."""
    vector = Argon2id(
        salt=b"\2" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        secret=b"\3" * 8,
        ad=b"\4" * 12,
    )

    assert "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659" == (
        vector.derive(b"\1" * 32).hex()
    )
    for answer in KNOWN_ANSWERS:
        expected = compute_with_openssl(answer.profile, answer.code, answer.salt)
        assert expected.hex() == answer.argon2_hash
    for engine in ENGINES:
        assert all(engine.supports(answer.profile, answer.salt) for answer in KNOWN_ANSWERS)


@pytest.mark.parametrize(
    ("lanes", "salt_bytes", "is_supported"),
    [(1, 16, True), (2, 16, False), (1, 15, False), (1, 17, False)],
)
def test_libsodium_supports_one_lane_and_salts_of_16_bytes(
    lanes: int, salt_bytes: int, *, is_supported: bool
) -> None:
    profile, salt = Argon2Profile(64, 1, lanes), bytes(salt_bytes)

    assert is_supported == LibsodiumEngine().supports(profile, salt)
    assert ARGON2_CFFI.supports(profile, salt)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_a_hash_that_cannot_be_computed_is_one_kind_of_error(engine: Engine) -> None:
    """Whatever library computes it: here no pass is asked for, and mostly it is missing memory."""
    with pytest.raises(Argon2Error):
        engine.compute(Argon2Profile(8, 0, 1), "123456", SALT)


def test_libsodium_is_loaded_where_pynacl_is_installed() -> None:
    """argon2-cffi is the first one, which computes what the others do not support."""
    assert [engine.name for engine in ENGINES] == [engine.name for engine in load_engines()]


def test_without_pynacl_there_is_argon2_cffi_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the extra."""
    caplog.set_level(logging.INFO)
    monkeypatch.delitem(sys.modules, "otp_service.hashing.libsodium")
    monkeypatch.setitem(sys.modules, "nacl.bindings", None)

    engines = load_engines()

    assert [ARGON2_CFFI] == engines
    assert "otp-service[fast]" in caplog.text


def test_a_libsodium_that_cannot_be_loaded_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the kind of the error, and not its text."""

    def fail(_name: str) -> Any:
        raise SystemError("a text of the library")

    monkeypatch.setattr(importlib, "import_module", fail)

    engines = load_engines()

    assert [ARGON2_CFFI] == engines
    assert "libsodium is left out: SystemError" in caplog.text
    assert "a text of the library" not in caplog.text
