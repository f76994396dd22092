"""argon2id in threads, with the parameters in force or with older ones."""

import pytest

from otp_service.core.argon2_profile import TEST_PROFILE, Argon2Profile
from otp_service.hashing import ArgonPool, compute_argon2id


SALT = b"sixteen bytes!!!"


@pytest.fixture
def pool():
    pool = ArgonPool(TEST_PROFILE, 1)
    yield pool
    pool.close()


async def test_a_hash_uses_the_parameters_in_force_or_those_of_the_caller(pool):
    """What was hashed under older parameters is still compared under them."""
    older = Argon2Profile(memory_kib=16, passes=2, lanes=2)

    hashes = [
        await pool.compute_argon2id("code", SALT),
        await pool.compute_argon2id("code", SALT, pool.profile),
        await pool.compute_argon2id("code", SALT, older),
    ]

    current = compute_argon2id(TEST_PROFILE, "code", SALT)
    assert [current, current, compute_argon2id(older, "code", SALT)] == hashes
    assert 2 == len(set(hashes))
