"""The debt of one scope: the arithmetic of its bucket, for an hour and for a day.

A bucket keeps amounts in slots of a sixth of its window, and counts the current slot and the six before
it. So a charge counts for its whole window and at most a sixth longer: in no window, wherever it begins,
is more unverified than the bucket admits. The three other forms that a bucket could have:

- a TAT (GCRA) holds the share of an allowance. The allowance changes each minute, so an amount could
  not be repaid exactly
- two half-windows count a charge for up to one and a half windows, or, if the older one is interpolated,
  admit more than the allowance to a burst at its end. Interpolated amounts are not integers either
- the instant of each send is exact, and grows with the traffic of a country

All of it is integers and fourteen sums, so one Lua rule does the same. Instants and spans are
milliseconds, amounts are in the unit of the limit: millionths of the currency or of a message.

A bucket that counts countries has a window of a day for each of them, with the number of its messages.
So a message of an address is repaid exactly.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

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
    """The charge of one send of each challenge that was charged and has verified."""


class Debt(msgspec.Struct, frozen=True):
    """The bucket of one scope, with a window for each of PERIODS_MS."""

    windows: tuple[DebtWindow, DebtWindow] = (DebtWindow(), DebtWindow())
    countries: Mapping[str, DebtWindow] = {}
    """Of a bucket that counts countries, which has no other amounts: the messages to each, in a day."""


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
    countries = {
        country: _advance_window(window, day_slot) for country, window in debt.countries.items()
    }
    return Debt((_advance_window(hour, hour_slot), _advance_window(day, day_slot)), countries)


def charge_debt(debt: Debt, amount: int, now: int, country: str | None = None) -> Debt:
    """Return the bucket with a send that has not verified; with a country, of one that counts them."""
    debt = settle_debt(debt, now)
    if country is not None:
        window = _charge_window(_get_country_window(debt, country), amount)
        return replace(debt, countries={**debt.countries, country: window})
    hour, day = debt.windows
    return Debt((_charge_window(hour, amount), _charge_window(day, amount)))


def repay_debt(  # noqa: PLR0913  # all that a send was charged
    debt: Debt,
    amount: int,
    charged_at: int,
    now: int,
    *,
    verified: int = 0,
    country: str | None = None,
) -> Debt:
    """Return the bucket without a send that was charged at `charged_at`.

    It is taken from its own slot, so the bucket is as if it had never been charged. A slot that has
    left the window had the charge, too, so nothing is taken from others. `verified` is added to what
    has verified in that slot: one charge for a challenge, however often it was sent.
    """
    debt = settle_debt(debt, now)
    if country is not None:
        window = _get_country_window(debt, country)
        window = _repay_window(window, charged_at // _DAY_SLOT_MS, amount, verified)
        return replace(debt, countries={**debt.countries, country: window})
    hour, day = debt.windows
    return Debt(
        (
            _repay_window(hour, charged_at // _HOUR_SLOT_MS, amount, verified),
            _repay_window(day, charged_at // _DAY_SLOT_MS, amount, verified),
        )
    )


def count_other_countries(debt: Debt, country: str) -> int:
    """Return to how many countries but this one messages went, of which none has verified in the day.

    0 if one to this country has verified: then this country does not count.
    """
    if any(_get_country_window(debt, country).verified):
        return 0
    return sum(
        name != country and any(window.unverified) and not any(window.verified)
        for name, window in debt.countries.items()
    )


def list_changes(now: int) -> list[int]:
    """Return the instants after which every slot that counts now has left its window, ascending."""
    return sorted(
        (now // slot_ms + step) * slot_ms
        for slot_ms in (_HOUR_SLOT_MS, _DAY_SLOT_MS)
        for step in range(1, _SLOT_COUNT + 1)
    )


def _get_country_window(debt: Debt, country: str) -> DebtWindow:
    """Return the window of a country in a settled bucket."""
    return debt.countries.get(country) or DebtWindow(debt.windows[1].newest_slot)


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
