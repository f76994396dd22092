"""What an operator should look at in a period: by rules with and without a comparison."""

import msgspec
from msgspec.structs import replace

from otp_service.audit.reports.absolute_rules import (
    MIN_BASELINE_CHALLENGES,
    find_absolute_anomalies,
    has_baseline,
)
from otp_service.audit.reports.anomaly import NO_EVENTS, Anomaly
from otp_service.audit.reports.brake_rules import find_brake_anomalies
from otp_service.audit.reports.opt_out_rules import find_opt_out_anomalies
from otp_service.audit.reports.relative_rules import find_relative_anomalies
from otp_service.audit.reports.stats import StatsOverview


class Baseline(msgspec.Struct, frozen=True):
    """Whether the period before has enough data to compare with, and a sentence about it."""

    is_sufficient: bool
    sentence: str


def find_anomalies(
    today: StatsOverview, before: StatsOverview, currency: str, tenant: str | None = None
) -> list[Anomaly]:
    """Return what to look at, alarms first. `before` is an equal period, or the day before.

    Where both count the events of one `tenant`, so do the filters. `currency` is that of the settings.
    """
    absolute = find_absolute_anomalies(today, before)
    relative = find_relative_anomalies(today, before)
    brake = find_brake_anomalies(today, currency)
    found = [*absolute, *relative, *find_opt_out_anomalies(today, before), *brake]
    if tenant is not None:
        found = [_limit_to_tenant(anomaly, tenant) for anomaly in found]
    return sorted(found, key=lambda anomaly: anomaly.weight != "alarm")


def _limit_to_tenant(anomaly: Anomaly, tenant: str) -> Anomaly:
    if anomaly.criteria == NO_EVENTS:
        return anomaly
    return replace(anomaly, criteria=replace(anomaly.criteria, tenant=tenant))


def describe_baseline(before: StatsOverview) -> Baseline:
    """Return whether the rules that compare are in force, and a sentence about it."""
    count = before.total.issued
    number = f"{count} challenge{'s' * (count != 1)}"
    if has_baseline(before):
        return Baseline(
            is_sufficient=True, sentence=f"Compared with the period before, which has {number}."
        )
    return Baseline(
        is_sufficient=False,
        sentence=f"No baseline yet: the period before has {number}, and {MIN_BASELINE_CHALLENGES} are needed to"
        " compare conversion. The rules that need no comparison are in force.",
    )
