"""What argon2id costs the service, and what all codes cost an attacker."""

import pytest

from otp_service.core.argon2_profile import (
    CORES_PER_GPU,
    DEFAULT_PROFILE,
    OWASP_PROFILES,
    TEST_PROFILE,
    Argon2Profile,
    estimate_attack_hours,
)


def test_the_default_is_a_row_of_owasps_table():
    """Production's parameters are asserted in one place."""
    assert Argon2Profile(memory_kib=7168, passes=5, lanes=1) == DEFAULT_PROFILE
    assert (7168, 5) in OWASP_PROFILES
    assert not DEFAULT_PROFILE.is_below_owasp()


@pytest.mark.parametrize(("memory", "passes"), OWASP_PROFILES)
def test_each_row_meets_owasp_and_less_of_either_does_not(memory, passes):
    """A row is enough, and so is more of both; more memory or more passes alone is not."""
    assert not Argon2Profile(memory, passes, 1).is_below_owasp()
    assert not Argon2Profile(memory + 1, passes + 1, 4).is_below_owasp()
    assert Argon2Profile(memory - 1, passes, 1).is_below_owasp()
    if passes > 1:
        assert Argon2Profile(memory, passes - 1, 1).is_below_owasp()


def test_the_second_choice_of_rfc_9106_meets_owasp():
    """64 MiB, three passes, four lanes."""
    assert not Argon2Profile(1 << 16, 3, 4).is_below_owasp()


def test_the_profile_of_tests_is_below_owasp():
    """So production refuses it unless accept_below_owasp is set."""
    assert TEST_PROFILE.is_below_owasp()
    assert [] == TEST_PROFILE.find_errors()


@pytest.mark.parametrize(
    ("profile", "field"),
    [
        (Argon2Profile(7, 1, 1), "memory_kib"),
        (Argon2Profile(31, 1, 4), "memory_kib"),
        (Argon2Profile((1 << 21) + 1, 1, 1), "memory_kib"),
        (Argon2Profile(8, 0, 1), "passes"),
        (Argon2Profile(8, 65, 1), "passes"),
        (Argon2Profile(8, 1, 0), "lanes"),
        (Argon2Profile(136, 1, 17), "lanes"),
    ],
)
def test_parameters_that_argon2_refuses_are_reported(profile, field):
    """Each error has its field, which the settings report."""
    assert [field] == [name for name, _ in profile.find_errors()]


@pytest.mark.parametrize(("memory", "passes"), OWASP_PROFILES)
def test_a_gpu_stays_near_ten_thousand_hashes_at_each_row(memory, passes):
    """The rows are chosen for this: under 10,000 a second, within a tenth."""
    assert Argon2Profile(memory, passes, 1).estimate_gpu_hash_rate() == pytest.approx(
        10_000, rel=0.1
    )


def test_an_attacker_with_the_pepper_needs_minutes():
    """100 s for a million codes, as in the worked example of the docstring."""
    hours = estimate_attack_hours(DEFAULT_PROFILE, 208)

    assert hours == pytest.approx(10**6 / (208 * CORES_PER_GPU) / 3600)
    assert hours * 3600 == pytest.approx(100, abs=0.5)


def test_two_more_digits_cost_an_attacker_a_hundred_times_as_much():
    """A longer code helps where argon2 cannot."""
    longer = estimate_attack_hours(DEFAULT_PROFILE, 60.6, digits=8)

    assert longer == pytest.approx(100 * estimate_attack_hours(DEFAULT_PROFILE, 60.6))


@pytest.mark.parametrize("hashes_per_second", [1, 60, 131])
def test_a_slow_server_or_engine_does_not_slow_an_attacker_down(hashes_per_second):
    """The bandwidth of the GPU is the bound, also with argon2-cffi's wheel and with libsodium."""
    assert estimate_attack_hours(DEFAULT_PROFILE, hashes_per_second) == pytest.approx(
        10**6 / DEFAULT_PROFILE.estimate_gpu_hash_rate() / 3600
    )
    assert estimate_attack_hours(TEST_PROFILE, 1) < 1 / 3600
