"""Metrics of the brake on SMS pumping: what it counts and refuses, and what was learned.

False refusals have no metric. Whether a refused person logs in later is known only once that has happened,
and from the events of one number: `audit stats` and the audit page count them.
"""

from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any, Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from otp_service.core.commit import Commit, Committed, OverDebt
from otp_service.core.events import BrakedSend
from otp_service.core.pumping.decision import DebtRefusal
from otp_service.core.pumping.learned_traffic import LearnedTraffic, parse_country, parse_tenant
from otp_service.core.pumping.prices import MICRO_UNITS
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.timestamps import SECOND_MS
from otp_service.telemetry.labels import COUNTRY_CODES, label_or_other


COUNTRY_STATES: Final = {"normal": 0, "strained": 1, "over": 2}
"""The values of `otp_pumping_country_state`."""

Window = Literal["hour", "day"]
WINDOW_NAMES: Final[tuple[Window, ...]] = get_args(Window)
"""In the order of `debt.PERIODS_MS`."""

CLOSED_MODE: Final = "closed"
"""The label of what an operator has closed, in each mode: it is no reason to page a person."""


class BrakeMetrics:
    """What commits of debts have counted and refused, and the record of what was learned."""

    def __init__(self, registry: CollectorRegistry, tenants: Collection[str]) -> None:
        self._registry, self._tenants = registry, frozenset(tenants)
        self._published: set[tuple[str, str]] = set()
        """The labels of each scope that the gauges of this process have."""
        send_labels, refusal_labels = (
            ("measure", "tenant", "country"),
            ("mode", "tenant", "country"),
        )
        text = "Messages that the brake admitted, by how they count."
        self._sends = self._add(Counter, "otp_pumping_sends", text, *send_labels)
        text = "Price of these messages, in the configured currency."
        self._sent_money = self._add(Counter, "otp_pumping_sent_money", text, *send_labels)
        text = "Messages that the brake refused, or in record mode would have refused."
        self._refusals = self._add(Counter, "otp_pumping_refusals", text, "limit", *refusal_labels)
        text = "Price of these messages, in the configured currency."
        self._refused_money = self._add(Counter, "otp_pumping_refused_money", text, *refusal_labels)
        self._make_gauges()

    def count_send(self, event: BrakedSend) -> None:
        """Count a message that the brake has admitted; without a price it did not look at it."""
        if event.price is not None:
            labels = event.measure or "", *self._name_scope(event.tenant, event.country)
            self._sends(*labels).inc()
            self._sent_money(*labels).inc(event.price / MICRO_UNITS)

    def count_outcome(self, commit: Commit, outcome: Committed | OverDebt) -> None:
        """Count what was refused in a commit with debts, or would have been."""
        if commit.debts is None:
            return
        if isinstance(outcome, OverDebt):
            self._count_refusal(commit, outcome.debt, BrakeMode.REFUSE)
        elif (over := outcome.debts.over) is not None:
            self._count_refusal(commit, over, BrakeMode.RECORD)

    def set_learned_traffic(self, learned: LearnedTraffic) -> None:
        """Publish the record that the process has read."""
        self._learned_at().set(learned.computed_at / SECOND_MS)
        scopes = {self._name_scope(parse_tenant(n), parse_country(n)) for n in learned.scopes}
        for labels in self._published - scopes:
            self._clear_scope(labels)
        self._published = scopes
        for name, figures in learned.scopes.items():
            state = "strained" if figures.is_strained else "normal"
            state = "over" if figures.has_refusals else state
            scope = parse_tenant(name), parse_country(name)
            self._country_states(*self._name_scope(*scope)).set(COUNTRY_STATES[state])
            for window, debt, allowance in zip(
                WINDOW_NAMES, figures.debt, figures.allowance, strict=True
            ):
                self.set_country_use(*scope, window, debt, allowance)

    def set_country_use(
        self, tenant: str, country: str, window: Window, unverified: int, allowance: int
    ) -> None:
        """Publish what is unverified in a country of a tenant and how much may be, in millionths."""
        labels = *self._name_scope(tenant, country), window
        self._unverified_money(*labels).set(unverified / MICRO_UNITS)
        self._allowance_money(*labels).set(allowance / MICRO_UNITS)

    def _clear_scope(self, labels: tuple[str, str]) -> None:
        """Set the gauges of a scope that is no longer learned to 0: files of processes keep each series."""
        self._country_states(*labels).set(COUNTRY_STATES["normal"])
        for window in WINDOW_NAMES:
            self._unverified_money(*labels, window).set(0)
            self._allowance_money(*labels, window).set(0)

    def set_day_spend(self, spend: int, budget: int) -> None:
        """Publish the price of all messages of the last day, and its budget, in millionths."""
        self._day_spend_money().set(spend / MICRO_UNITS)
        self._day_budget_money().set(budget / MICRO_UNITS)

    def _make_gauges(self) -> None:
        def add(name: str, text: str, *labels: str, mode: str = "livemax") -> Callable[..., Gauge]:
            return self._add(Gauge, name, text, *labels, multiprocess_mode=mode)

        scope = ("tenant", "country")
        text = "Country of a tenant: 0 normal, 1 strained, 2 over in this hour or the last one."
        self._country_states = add("otp_pumping_country_state", text, *scope)
        text = "Price of messages of a country of a tenant that are not verified, by window."
        self._unverified_money = add("otp_pumping_unverified_money", text, *scope, "window")
        text = "How much of it may be unverified."
        self._allowance_money = add("otp_pumping_allowance_money", text, *scope, "window")
        text = "Price of all messages of the last day, in the configured currency."
        self._day_spend_money = add("otp_pumping_day_spend_money", text)
        text = "The setting pumping.day_budget."
        self._day_budget_money = add("otp_pumping_day_budget_money", text)
        text = "Time at which what a process has learned was computed, in seconds since 1970."
        self._learned_at = add("otp_pumping_learned_at", text, mode="livemin")

    def _add(
        self, kind: Callable[..., Any], name: str, text: str, *labels: str, **options: str
    ) -> Callable[..., Any]:
        """Return the cached children of a new metric by their label values.

        One without labels is created by its first value: its 0 of a supervisor, which sets none, would
        be the least value of all processes.
        """
        create = partial(kind, name, text, labels, registry=self._registry, **options)
        return cache(create().labels) if labels else cache(create)

    def _count_refusal(self, commit: Commit, refusal: DebtRefusal, mode: BrakeMode) -> None:
        assert commit.debts
        is_closed = not refusal.allowance  # a floor is over 0
        labels = CLOSED_MODE if is_closed else mode.value, *self._name_scope(*_find_scope(commit))
        self._refusals(refusal.bucket.limit.value, *labels).inc()
        self._refused_money(*labels).inc(commit.debts.price / MICRO_UNITS)

    def _name_scope(self, tenant: str | None, country: str | None) -> tuple[str, str]:
        return label_or_other(self._tenants, tenant), label_or_other(COUNTRY_CODES, country)


def _find_scope(commit: Commit) -> tuple[str | None, str | None]:
    """Return tenant and country of the send that a commit charges."""
    name = (commit.debts.traffic or commit.debts.name) if commit.debts else None
    return (name.tenant, name.country) if name else (None, None)
