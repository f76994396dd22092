"""When a send is admitted, as time alone changes the decision about it.

What was charged leaves its windows, and so does what has verified, which made the allowance larger. What
operators have opened and closed ends. A number that has used up its exemption has it again after a day,
and none after 90 days. So a send that is refused may be admitted, and then refused again.
"""

from collections.abc import Mapping, Sequence

import msgspec

from otp_service.core.pumping.debt import EMPTY_DEBT, Debt, list_changes, settle_debt
from otp_service.core.pumping.decision import ALWAYS_OPEN, DebtCharge, decide_send
from otp_service.core.pumping.known_number import ExemptTime
from otp_service.core.pumping.scopes import ScopeBucket


class Admission(msgspec.Struct, frozen=True):
    """A span in which a send is admitted, if nothing else is charged and no figures change."""

    starts_at: int
    ends_at: int | None = None
    """Exclusive; None if no time ends it."""


def list_admissions(
    debts: Mapping[ScopeBucket, Debt],
    charges: Sequence[DebtCharge],
    now: int,
    exempt_time: ExemptTime | None = None,
    *,
    is_uncharged: bool = False,
) -> list[Admission]:
    """Return the spans from `now` on in which the same send is admitted, in order; the last has no end.

    `exempt_time` is that of its number, and `is_uncharged` is true if an earlier commit of the send was
    over a limit that only records.
    """
    # First at `now`: what was charged while the clock was ahead ages from now on.
    current = {c.bucket: settle_debt(debts.get(c.bucket, EMPTY_DEBT), now) for c in charges}
    spans: list[Admission] = []
    was_sent = False
    for instant in _list_instants(charges, now, exempt_time):
        is_exempt = exempt_time is not None and exempt_time.has_instant(instant)
        decision = decide_send(current, charges, instant, is_uncharged=is_uncharged or is_exempt)
        if decision.is_sent and not was_sent:
            spans.append(Admission(instant))
        elif was_sent and not decision.is_sent:
            spans[-1] = Admission(spans[-1].starts_at, instant)
        was_sent = decision.is_sent
    assert was_sent, "an empty scope admits a send"
    return spans


def find_first_admission(earliest: int, *admissions: Sequence[Admission]) -> int:
    """Return the first instant, not before `earliest`, that is in a span of each of these."""
    instant = earliest
    while True:
        later = max((_find_next(spans, instant) for spans in admissions), default=instant)
        if later == instant:
            return instant
        instant = later


def _find_next(spans: Sequence[Admission], earliest: int) -> int:
    span = next(one for one in spans if one.ends_at is None or earliest < one.ends_at)
    return max(span.starts_at, earliest)


def compute_wait(
    debts: Mapping[ScopeBucket, Debt],
    charges: Sequence[DebtCharge],
    now: int,
    exempt_time: ExemptTime | None = None,
    *,
    is_uncharged: bool = False,
) -> int:
    """Return the milliseconds until the same send is admitted; 0 for now (Retry-After).

    It is true if nothing else is charged and no figures change: a scope that is open may be full once
    that ends, and a number may be exempt before its scopes have room.
    """
    spans = list_admissions(debts, charges, now, exempt_time, is_uncharged=is_uncharged)
    return spans[0].starts_at - now


def _list_instants(
    charges: Sequence[DebtCharge], now: int, exempt_time: ExemptTime | None
) -> list[int]:
    """Return the instants at which the decision about a send may change by itself, from `now` on.

    An allowance shrinks as verifications leave the window. So they are all those at which something
    leaves, and the ends of what operators have decided; at the last one all scopes are empty.
    """
    instants = {now, *list_changes(now)}
    instants.update(end for one in charges for end in (one.open_until, one.closed_until))
    if exempt_time is not None:
        instants.update((exempt_time.starts_at, exempt_time.ends_at or 0))
    return sorted(instant for instant in instants if now <= instant < ALWAYS_OPEN)
