"""Computes what the record of the brake holds: figures each hour, strain and outages each minute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from otp_service.core.pumping.learned_traffic import (
    LearnedTraffic,
    ScopeFigures,
    learn_traffic,
    measure_scope,
    parse_country,
    parse_tenant,
)
from otp_service.core.pumping.outages import (
    can_be_strained,
    is_without_provider,
    judge_exempt_sends,
    update_outages,
)
from otp_service.core.pumping.send_debts import BrakeSettings, Outage
from otp_service.core.timestamps import HOUR_MS
from otp_service.store.traffic_totals import RecentTraffic, TrafficTotals


@dataclass(frozen=True)
class TrafficLearner:
    """Learns from the totals and debts in Redis, with the settings of this process."""

    _totals: TrafficTotals
    _settings: Mapping[str, BrakeSettings]
    """By tenant; nothing is learned about others."""
    _find_price: Callable[[str], int]
    """Returns the price of a message to a country."""
    _list_breakers: Callable[[str], Sequence[int]]
    """Returns for each provider of a country's route until when its breaker is open, 0 for closed."""

    async def learn(self, last: LearnedTraffic, now: int) -> LearnedTraffic:
        """Return what follows what was learned last. Raises StoreUnavailable."""
        scopes = await self._totals.list_scopes()
        scopes = [scope for scope in scopes if parse_tenant(scope) in self._settings]
        figures, hour = last.scopes, now // HOUR_MS
        if hour != last.hour:
            figures = await self._learn_hours(scopes, now)
        recent = await self._totals.read_recent(scopes, now)
        outages = self._update_outages(last.outages, recent, now)
        debts = await self._totals.read_debts(scopes)
        learned = {}
        for scope in scopes:
            tenant, country = parse_tenant(scope), parse_country(scope)
            measured = measure_scope(
                figures.get(scope, ScopeFigures()),
                debts[scope],
                self._find_price(country),
                self._settings[tenant],
                now,
            )
            can_strain = can_be_strained(outages, tenant, country, now)
            learned[scope] = replace(
                measured,
                is_strained=measured.is_strained and can_strain,
                has_refusals=recent[scope].has_refusals,
            )
        spend = await self._totals.read_day_spend(now)
        return LearnedTraffic(now, hour, learned, outages, spend)

    async def _learn_hours(self, scopes: Sequence[str], now: int) -> dict[str, ScopeFigures]:
        """Return the figures of the hours before this one, and delete what is too old."""
        found = await self._totals.read_all(scopes)
        await self._totals.delete_old(found, now)
        hours = {scope: fields.build_hours(now // HOUR_MS) for scope, fields in found.items()}
        return learn_traffic(hours, self._find_price)

    def _update_outages(
        self, outages: Sequence[Outage], recent: Mapping[str, RecentTraffic], now: int
    ) -> tuple[Outage, ...]:
        countries = {*map(parse_country, recent)}
        failing = [c for c in countries if is_without_provider(self._list_breakers(c), now)]
        evidence = {
            (parse_tenant(scope), parse_country(scope)): judge_exempt_sends(traffic.slots, now)
            for scope, traffic in recent.items()
        }
        return update_outages(outages, failing, evidence, now)
