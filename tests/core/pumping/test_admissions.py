"""When a send is admitted: against its decision at every instant at which something changes.

The oracle decides the send again at an instant, with the overrides and the record of the number as they
are then. It knows nothing of spans, and asks whether the send passes.
"""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.pumping.admissions import (
    Admission,
    compute_wait,
    find_first_admission,
    list_admissions,
)
from otp_service.core.pumping.allowance import Figures
from otp_service.core.pumping.debt import EMPTY_DEBT, charge_debt, repay_debt
from otp_service.core.pumping.decision import DebtCharge, decide_send
from otp_service.core.pumping.known_number import (
    KNOWN_NUMBER_TTL_MS,
    ExemptTime,
    KnownNumber,
    find_exempt_time,
    is_exempt,
)
from otp_service.core.pumping.overrides import Overrides, ScopeOverride
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit, Floors
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    SendFigures,
    SendSubject,
    build_debt_charges,
)
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS


NOW = 1_763_814_000_123
PRICE = 40_000
SUBJECT = SendSubject("shop", "GB", "+44740012", "+4474001", "192.0.2.1")
FLOORS = Floors(
    range_sends=(1, 2),
    block_sends=(2, 3),
    address_sends=(2, 3),
    address_countries=1,
    country_money=(2 * PRICE, 3 * PRICE),
    new_countries_money=(2 * PRICE, 4 * PRICE),
)
SCOPES = {
    DebtLimit.UNVERIFIED_RANGE: ("", SUBJECT.range),
    DebtLimit.UNVERIFIED_BLOCK: ("", SUBJECT.block),
    DebtLimit.UNVERIFIED_COUNTRY: ("shop", "GB"),
    DebtLimit.UNVERIFIED_ADDRESS: ("shop", "192.0.2.1"),
    DebtLimit.SPEND_OVERALL: ("", ""),
}
"""Those that an operator may open and close."""


class SendState:
    """All that decides a send, and the decision about it at an instant."""

    def __init__(
        self,
        mode: BrakeMode,
        share: float,
        charged: list[tuple[int, bool, str]],
        overrides: list[ScopeOverride],
        known: tuple[KnownNumber | None, bool],
    ) -> None:
        self.settings = BrakeSettings(3 * PRICE, mode, FLOORS, deviations=1)
        self.figures = SendFigures(Figures(share, 0.1))
        self.overrides = Overrides(tuple(overrides))
        self.known, self.is_assumed_known = known
        self.debts: dict[Any, Any] = {}
        for age, is_verified, country in sorted(charged, reverse=True):
            for charge in self._build_charges(country):
                self._add_debt(charge, NOW - age, is_verified=is_verified)

    @property
    def charges(self) -> tuple[DebtCharge, ...]:
        """Those that a process plans now."""
        return self.overrides.apply(self._build_charges(), NOW)

    @property
    def exempt_time(self) -> ExemptTime | None:
        return find_exempt_time(self.known, NOW, is_assumed_known=self.is_assumed_known)

    def is_sent(self, instant: int) -> bool:
        """Decide the send at an instant, as if nothing else had happened."""
        charges = self.overrides.apply(self._build_charges(), instant)
        known = self.known
        if known is not None and instant - known.verified_at >= KNOWN_NUMBER_TTL_MS:
            known = None
        exempt = is_exempt(known, instant) or (known is None and self.is_assumed_known)
        return decide_send(self.debts, charges, instant, is_uncharged=exempt).is_sent

    def list_probes(self) -> list[int]:
        """Return each instant at which anything may change, and the one before it."""
        ends = [item.until for item in self.overrides.items]
        if self.known:
            ends += [at + DAY_MS for at in self.known.unpaid_at]
            ends.append(self.known.verified_at + KNOWN_NUMBER_TTL_MS)
        slots = range(NOW - NOW % (10 * MINUTE_MS), NOW + 30 * HOUR_MS, 10 * MINUTE_MS)
        probes = {at + shift for at in (NOW, *ends, *slots) for shift in (-1, 0)}
        return sorted(at for at in probes if at >= NOW)

    def _build_charges(self, country: str = "GB") -> tuple[DebtCharge, ...]:
        subject = replace(SUBJECT, country=country)
        return build_debt_charges(subject, PRICE, Measure.UNVERIFIED, self.figures, self.settings)

    def _add_debt(self, charge: DebtCharge, at: int, *, is_verified: bool) -> None:
        debt = charge_debt(
            self.debts.get(charge.bucket, EMPTY_DEBT), charge.price, at, charge.country
        )
        if is_verified and charge.bucket.limit.is_repaid:
            debt = repay_debt(
                debt, charge.price, at, at, verified=charge.price, country=charge.country
            )
        self.debts[charge.bucket] = debt


ages = st.one_of(st.integers(0, HOUR_MS), st.integers(0, 28 * HOUR_MS))
charged = st.lists(
    st.tuples(ages, st.sampled_from([False, False, True]), st.sampled_from(["GB", "GB", "FR"])),
    min_size=2,
    max_size=8,
)
ends = st.one_of(st.integers(1, 2 * HOUR_MS), st.integers(1, 30 * HOUR_MS))


@st.composite
def build_overrides(draw: st.DrawFn) -> list[ScopeOverride]:
    limits = draw(st.lists(st.sampled_from([*SCOPES]), max_size=3, unique=True))
    return [
        ScopeOverride(
            limit,
            *SCOPES[limit],
            draw(st.sampled_from(["open", "open", "closed"])),
            NOW + draw(ends),
            "a test",
            "ops",
            NOW,
        )
        for limit in limits
        if limit is not DebtLimit.SPEND_OVERALL or draw(st.booleans())
    ]


@st.composite
def build_known_numbers(draw: st.DrawFn) -> KnownNumber | None:
    """Return a record that may have used up its exemption, or that ends soon."""
    if draw(st.booleans()):
        return None
    age = draw(st.one_of(st.integers(0, 30 * HOUR_MS), st.just(KNOWN_NUMBER_TTL_MS - HOUR_MS)))
    count = draw(st.sampled_from([0, 2, 3, 3, 4, 6]))
    unpaid = sorted((draw(st.integers(0, 26 * HOUR_MS)) for _ in range(count)), reverse=True)
    return KnownNumber(NOW - age, tuple(NOW - at for at in unpaid))


states = st.builds(
    SendState,
    st.sampled_from([BrakeMode.REFUSE, BrakeMode.REFUSE, BrakeMode.RECORD]),
    st.sampled_from([0.0, 0.5, 1.2]),
    charged,
    build_overrides(),
    st.tuples(build_known_numbers(), st.sampled_from([False, False, True])),
)


def is_inside(spans: list[Admission], instant: int) -> bool:
    return any(
        one.starts_at <= instant and (one.ends_at is None or instant < one.ends_at) for one in spans
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(states.filter(lambda state: not state.is_sent(NOW)))
def test_the_time_named_is_the_first_instant_at_which_the_same_send_passes(
    state: SendState,
) -> None:
    """Whatever is owed, open, closed, and known: no instant before it passes, and it does."""
    wait = compute_wait(state.debts, state.charges, NOW, state.exempt_time)

    assert state.is_sent(NOW + wait)
    assert not [at for at in state.list_probes() if at < NOW + wait and state.is_sent(at)]


@settings(max_examples=150, deadline=None)
@given(states)
def test_a_send_passes_inside_of_the_spans_alone(state: SendState) -> None:
    """Also where it passes now and is refused later, as at the end of an opening."""
    spans = list_admissions(state.debts, state.charges, NOW, state.exempt_time)

    probes = state.list_probes()
    assert [is_inside(spans, at) for at in probes] == [state.is_sent(at) for at in probes]


@settings(max_examples=75, deadline=None)
@given(states, states, st.integers(0, 12 * HOUR_MS))
def test_a_send_with_two_partitions_passes_where_both_have_a_span(
    number: SendState, shared: SendState, limit_wait: int
) -> None:
    """And not before the limits, such as the cooldown of the number."""
    earliest = NOW + limit_wait
    spans = [
        list_admissions(one.debts, one.charges, NOW, one.exempt_time) for one in (number, shared)
    ]

    first = find_first_admission(earliest, *spans)

    assert number.is_sent(first)
    assert shared.is_sent(first)
    probes = (*number.list_probes(), *shared.list_probes(), earliest)
    before = [at for at in probes if earliest <= at < first]
    assert not [at for at in before if number.is_sent(at) and shared.is_sent(at)]


def build_full_range(*overrides: ScopeOverride, known: KnownNumber | None = None) -> SendState:
    """Return a send whose range has had a message one minute ago: it is full for an hour and a slot."""
    return SendState(
        BrakeMode.REFUSE, 0.0, [(MINUTE_MS, False, "GB")], list(overrides), (known, False)
    )


def override(limit: DebtLimit, action: Any, until: int) -> ScopeOverride:
    return ScopeOverride(limit, *SCOPES[limit], action, until, "a test", "ops", NOW)


def test_a_range_that_is_open_is_full_again_after_that() -> None:
    """The country is closed for longer than the range is open, and for less than it is full."""
    state = build_full_range(
        override(DebtLimit.UNVERIFIED_RANGE, "open", NOW + 10 * MINUTE_MS),
        override(DebtLimit.UNVERIFIED_COUNTRY, "closed", NOW + 20 * MINUTE_MS),
    )

    wait = compute_wait(state.debts, state.charges, NOW, state.exempt_time)

    assert 50 * MINUTE_MS < wait < HOUR_MS + 10 * MINUTE_MS


def test_a_known_number_is_exempt_again_before_its_range_has_room() -> None:
    """Its first message of three leaves the day in half an hour."""
    sent = tuple(NOW - DAY_MS + minutes * MINUTE_MS for minutes in (30, 40, 50))
    state = build_full_range(known=KnownNumber(NOW - 2 * DAY_MS, sent))

    wait = compute_wait(state.debts, state.charges, NOW, state.exempt_time)

    assert 30 * MINUTE_MS == wait


def test_a_closed_scope_of_record_mode_only_records_after_that() -> None:
    """It is full for longer than it is closed."""
    closed = override(DebtLimit.UNVERIFIED_RANGE, "closed", NOW + MINUTE_MS)
    state = SendState(BrakeMode.RECORD, 0.0, [(0, False, "GB")] * 2, [closed], (None, False))

    assert MINUTE_MS == compute_wait(state.debts, state.charges, NOW, state.exempt_time)
