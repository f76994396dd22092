"""How much may be unverified in a scope: `floor + (1 + m) E + z sqrt(price E)`.

E is what honest people leave unverified: the learned share u of what verifies in the window. The margin
m is for days on which fewer people finish than usual, and z standard deviations of a Poisson process for
chance, which matters where few messages are sent.
"""

import math
from typing import Final

import msgspec

from otp_service.core.pumping.debt import Debt


class Figures(msgspec.Struct, frozen=True):
    """What is learned about a scope. A worker computes it once a minute from hourly totals.

    Without history the share is 0, so that the floors alone remain.
    """

    unverified_share: float = 0.0
    """u: what stays unverified for each unit that verifies."""
    margin: float = 0.0
    """m: the part by which E may be exceeded."""
    usual_verified: tuple[int, ...] = (0, 0)
    """What usually verifies in a window of this length, for each of PERIODS_MS."""


NO_FIGURES: Final = Figures()


class Terms(msgspec.Struct, frozen=True):
    """The floors of a scope for each of PERIODS_MS, and what is added to them."""

    floors: tuple[int, ...]
    figures: Figures = NO_FIGURES
    deviations: float = 0.0
    """z: standard deviations of what is expected that are admitted as chance."""


def compute_allowance(terms: Terms, index: int, verified: int, price: int) -> int:
    """Return how much may be unverified in the window `index` of PERIODS_MS, rounded down.

    `verified` is what has verified in the window that ends now: more than usual on the day of a launch.
    The floor is at least one price: an empty scope admits a message, however expensive.
    """
    expected = _compute_expected(terms.figures, index, verified)
    chance = terms.deviations * math.sqrt(price * expected)
    learned = (1 + terms.figures.margin) * expected + chance
    return max(terms.floors[index], price) + int(learned)


def is_strained(terms: Terms, debt: Debt, price: int, parts: tuple[float, float]) -> bool:
    """Return whether a settled bucket has used its part of what it has beyond the expected debt.

    `parts` has one for each of PERIODS_MS.

    Honest people leave the expected debt unverified each day, so the whole allowance says nothing.
    """
    for index, window in enumerate(debt.windows):
        verified = sum(window.verified)
        expected = _compute_expected(terms.figures, index, verified)
        spare = compute_allowance(terms, index, verified, price) - expected
        if sum(window.unverified) > expected + parts[index] * spare:
            return True
    return False


def _compute_expected(figures: Figures, index: int, verified: int) -> float:
    """Return E."""
    return figures.unverified_share * max(figures.usual_verified[index], verified)
