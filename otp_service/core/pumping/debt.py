"""The debt of one scope: the arithmetic of its bucket, for an hour and for a day.

A bucket keeps money in slots of a sixth of its window, and counts the current slot and the six before
it. So a charge counts for its whole window and at most a sixth longer: in no window, wherever it begins,
is more unverified than the bucket admits. The three other forms that a bucket could have:

- a TAT (GCRA) holds the share of an allowance. The allowance changes each minute, so an amount could
  not be repaid exactly
- two half-windows count a charge for up to one and a half windows, or, if the older one is interpolated,
  admit more than the allowance to a burst at its end. Interpolated amounts are not integers either
- the instant of each send is exact, and grows with the traffic of a country

All of it is integers and fourteen sums, so one Lua rule does the same. Instants and spans are
milliseconds, amounts are millionths of the currency of `prices.py`.
"""

from typing import Final

import msgspec

from otp_service.core.timestamps import DAY_MS, HOUR_MS


PERIODS_MS: Final = (HOUR_MS, DAY_MS)
"""The windows of each bucket, in the order in which it stores them."""

SLOTS_PER_PERIOD: Final = 6
_HOUR_SLOT_MS, _DAY_SLOT_MS = (period_ms // SLOTS_PER_PERIOD for period_ms in PERIODS_MS)
_SLOT_COUNT: Final = SLOTS_PER_PERIOD + 1  # the current one is not complete
_EMPTY_SLOTS: Final = (0,) * _SLOT_COUNT


class DebtWindow(msgspec.Struct, frozen=True):
    """The amounts of one window, the newest slot first; `newest_slot` counts slots since 1970."""

    newest_slot: int = 0
    unverified: tuple[int, ...] = _EMPTY_SLOTS
    verified: tuple[int, ...] = _EMPTY_SLOTS
    """One price for each challenge that was charged and has verified."""


class Debt(msgspec.Struct, frozen=True):
    """The bucket of one scope, with a window for each of PERIODS_MS."""

    windows: tuple[DebtWindow, DebtWindow] = (DebtWindow(), DebtWindow())


EMPTY_DEBT: Final = Debt()


def settle_debt(debt: Debt, now: int) -> Debt:
    """Return the bucket without the slots that have left its windows.

    If the clock was set back since it was written, all of it counts as one slot later would: the
    bucket is as full as it was, and ages from now on.
    """
    hour, day = debt.windows
    hour_slot, day_slot = now // _HOUR_SLOT_MS, now // _DAY_SLOT_MS
    if hour.newest_slot == hour_slot and day.newest_slot == day_slot:
        return debt
    return Debt((_advance_window(hour, hour_slot), _advance_window(day, day_slot)))


def charge_debt(debt: Debt, amount: int, now: int) -> Debt:
    """Return the bucket with a send that has not verified."""
    hour, day = settle_debt(debt, now).windows
    return Debt((_charge_window(hour, amount), _charge_window(day, amount)))


def repay_debt(debt: Debt, amount: int, charged_at: int, now: int, *, verified: int = 0) -> Debt:
    """Return the bucket without a send that was charged at `charged_at`.

    It is taken from its own slot, so the bucket is as if it had never been charged. A slot that has
    left the window had the charge, too, so nothing is taken from others. `verified` is added to what
    has verified in that slot: one price for a challenge, however often it was sent.
    """
    hour, day = settle_debt(debt, now).windows
    return Debt(
        (
            _repay_window(hour, charged_at // _HOUR_SLOT_MS, amount, verified),
            _repay_window(day, charged_at // _DAY_SLOT_MS, amount, verified),
        )
    )


def list_changes(now: int) -> list[int]:
    """Return the instants after which every slot that counts now has left its window, ascending."""
    return sorted(
        (now // slot_ms + step) * slot_ms
        for slot_ms in (_HOUR_SLOT_MS, _DAY_SLOT_MS)
        for step in range(1, _SLOT_COUNT + 1)
    )


def _charge_window(window: DebtWindow, amount: int) -> DebtWindow:
    unverified = (window.unverified[0] + amount, *window.unverified[1:])
    return DebtWindow(window.newest_slot, unverified, window.verified)


def _advance_window(window: DebtWindow, slot: int) -> DebtWindow:
    passed = slot - window.newest_slot
    if passed == 0:
        return window
    if passed < 0:
        return DebtWindow(slot, window.unverified, window.verified)
    passed = min(passed, _SLOT_COUNT)
    empty = (0,) * passed
    return DebtWindow(slot, empty + window.unverified[:-passed], empty + window.verified[:-passed])


def _repay_window(window: DebtWindow, slot: int, amount: int, verified: int) -> DebtWindow:
    index = max(0, window.newest_slot - slot)
    if index >= _SLOT_COUNT:
        return window
    unverified, paid = list(window.unverified), list(window.verified)
    unverified[index] = max(0, unverified[index] - amount)
    paid[index] += verified
    return DebtWindow(window.newest_slot, tuple(unverified), tuple(paid))
