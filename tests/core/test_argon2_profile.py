"""What argon2id costs us, and what all codes would cost a thief."""

import pytest

from otp_service.core.argon2_profile import (
    CHEAPEST,
    DEFAULT,
    GPU_FACTOR,
    OWASP,
    Profile,
    thief_hours,
)


def test_the_default_is_a_row_of_owasps_table():
    """Production's parameters, asserted in one place."""
    assert Profile(memory_kib=7168, passes=5, lanes=1) == DEFAULT
    assert (7168, 5) in OWASP
    assert not DEFAULT.below_owasp()


@pytest.mark.parametrize(("memory", "passes"), OWASP)
def test_each_row_is_enough_and_less_of_either_is_not(memory, passes):
    """At a row is enough, above it too; a row is not reached by memory or passes alone."""
    assert not Profile(memory, passes, 1).below_owasp()
    assert not Profile(memory + 1, passes + 1, 4).below_owasp()
    assert Profile(memory - 1, passes, 1).below_owasp()
    if passes > 1:
        assert Profile(memory, passes - 1, 1).below_owasp()


def test_rfc_9106s_second_choice_is_enough():
    """64 MiB, three passes, four lanes."""
    assert not Profile(1 << 16, 3, 4).below_owasp()


def test_the_profile_of_tests_is_below():
    """So it cannot come into production without accept_below_owasp."""
    assert CHEAPEST.below_owasp()
    assert [] == CHEAPEST.faults()


@pytest.mark.parametrize(
    ("profile", "field"),
    [
        (Profile(7, 1, 1), "memory_kib"),
        (Profile(31, 1, 4), "memory_kib"),
        (Profile((1 << 21) + 1, 1, 1), "memory_kib"),
        (Profile(8, 0, 1), "passes"),
        (Profile(8, 65, 1), "passes"),
        (Profile(8, 1, 0), "lanes"),
        (Profile(136, 1, 17), "lanes"),
    ],
)
def test_what_argon2_would_refuse_is_named(profile, field):
    """With the field, for the settings to tell."""
    assert [field] == [name for name, _ in profile.faults()]


@pytest.mark.parametrize(("memory", "passes"), OWASP)
def test_a_gpu_stays_near_ten_thousand_hashes_at_each_row(memory, passes):
    """Which is what the rows are made for: under 10,000 a second, within a tenth."""
    assert Profile(memory, passes, 1).gpu_speed() == pytest.approx(10_000, rel=0.1)


def test_a_thief_of_the_pepper_needs_minutes():
    """97 s for a million codes, which the worked example in the docstring says too."""
    hours = thief_hours(DEFAULT, 60.6)

    assert hours == pytest.approx(10**6 / (60.6 * GPU_FACTOR) / 3600)
    assert hours * 3600 == pytest.approx(97, abs=0.5)


def test_two_more_digits_cost_him_a_hundred_times_as_much():
    """Length helps where argon2 cannot."""
    longer = thief_hours(DEFAULT, 60.6, digits=8)

    assert longer == pytest.approx(100 * thief_hours(DEFAULT, 60.6))


def test_a_slow_machine_of_ours_does_not_slow_him_down():
    """Where ours is slow, his memory is the bound; with the cheapest profile it is no bound."""
    assert thief_hours(DEFAULT, 1) == pytest.approx(10**6 / DEFAULT.gpu_speed() / 3600)
    assert thief_hours(CHEAPEST, 1) < 1 / 3600
