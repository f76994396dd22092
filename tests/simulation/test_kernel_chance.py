"""Draws follow from the seed and from the name of the part, and from nothing else."""

from collections import Counter

import pytest

from tests.simulation.kernel.chance import Chance


def draw_each(chance: Chance) -> list[object]:
    """Return one draw of each kind."""
    return [
        chance.draw_below(10**6),
        chance.draw_between(-3, 3),
        chance.draw_bytes(8).hex(),
        chance.draw_fraction(),
        chance.draw_ms(5, 500),
        chance.has_luck(0.5),
        chance.pick("abcdefgh"),
        chance.to_random_source().generate_operation_id(),
    ]


def test_a_seed_means_the_same_in_each_version_of_python():
    """These values were written down on Python 3.11."""
    expected = [
        385848,
        3,
        "d23f0824128b2f33",
        0.5358820043066892,
        381,
        False,
        "e",
        "6050914a9d33a01c353c631cdfd43f37",
    ]

    assert expected == draw_each(Chance(7))


def test_parts_draw_independently():
    """A draw more in one part changes nothing in another one."""
    chance = Chance(7)
    chance.draw_below(100)
    part = chance.derive("network")
    chance.draw_below(100)

    assert draw_each(Chance(7).derive("network")) == draw_each(part)
    assert draw_each(Chance(7).derive("network")) != draw_each(Chance(7).derive("actors"))
    assert draw_each(Chance(7)) != draw_each(Chance(8))


def test_draws_cover_their_range_evenly():
    """Both ends included, where that is said."""
    chance = Chance("cover")
    counts = Counter(chance.draw_between(1, 4) for _ in range(4000))
    lucks = sum(chance.has_luck(0.25) for _ in range(4000))

    assert {1, 2, 3, 4} == set(counts)
    assert all(900 < count < 1100 for count in counts.values())
    assert 900 < lucks < 1100
    assert not chance.has_luck(0)
    assert chance.has_luck(1)


def test_an_empty_range_is_an_error():
    """It is a mistake in the generator."""
    with pytest.raises(ValueError, match="empty"):
        Chance(1).pick([])
