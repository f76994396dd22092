"""Rules about opt-outs: far more of them than usual, and messages from phones without an effect."""

from collections.abc import Iterator
from typing import Final

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.anomaly import Anomaly, Weight, build_anomaly
from otp_service.audit.reports.opt_out_stats import IgnoredMessages, ProviderOptOuts
from otp_service.audit.reports.stats import StatsOverview


MIN_OPT_OUTS: Final = 20
"""Opt-outs of a provider that a finding needs; alerts.yml has the same numbers for an hour."""

MAX_OPT_OUT_SHARE: Final = 0.02
"""More opt-outs for each message than that are a finding without a period to compare with."""

OPT_OUT_FACTOR: Final = 3
"""So is that multiple of the share in the period before."""

USUAL_FACTOR: Final = 2
"""A share of at most that multiple of the one before makes it a notice."""

MIN_USUAL_MESSAGES: Final = 100
"""Messages that a provider needs in the period before for its share to be compared."""

MIN_IGNORED: Final = 10

IGNORED_SENTENCES: Final = {
    "unexpected": "{} of STOP, START and HELP through {} came from numbers that nothing was sent to.",
    "invalid_sender": "{} of STOP, START and HELP through {} came from a sender that is no phone number.",
    "token": "{} requests with messages from phones of {} had no valid token.",
    "unsigned": "{} messages from phones of {} came to the address for receipts without a signature.",
}
"""By the reason in `IGNORED_REASONS`."""


def find_opt_out_anomalies(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    earlier = {row.provider: row for row in before.opt_outs.providers}
    for row in today.opt_outs.providers:
        yield from _find_opt_outs(row, earlier.get(row.provider, ProviderOptOuts(row.provider)))
    ignored_before = {(one.provider, one.reason): one.times for one in before.opt_outs.ignored}
    for one in today.opt_outs.ignored:
        if one.times >= MIN_IGNORED:
            yield _build_ignored(one, ignored_before.get((one.provider, one.reason), 0))


def _find_opt_outs(row: ProviderOptOuts, earlier: ProviderOptOuts) -> Iterator[Anomaly]:
    share, usual = _get_share(row), _get_share(earlier)
    is_comparable = earlier.sent >= MIN_USUAL_MESSAGES
    is_unusual = share > MAX_OPT_OUT_SHARE or (is_comparable and share > OPT_OUT_FACTOR * usual)
    if row.opted_out >= MIN_OPT_OUTS and is_unusual:
        weight: Weight = "notice" if is_comparable and share <= USUAL_FACTOR * usual else "alarm"
        yield build_anomaly(
            "opt-outs",
            "provider",
            row.provider,
            f"{row.opted_out} people answered STOP through {row.provider}, which sent {row.sent} messages;"
            f" in the period before, {earlier.opted_out} did, of {earlier.sent}.",
            now=row.opted_out,
            before=earlier.opted_out,
            weight=weight,
            criteria=EventCriteria(type="number.opted_out", provider=row.provider),
        )


def _get_share(row: ProviderOptOuts) -> float:
    """Return the opt-outs for each message; without a message, as if it were one."""
    return row.opted_out / max(row.sent, 1)


def _build_ignored(one: IgnoredMessages, before: int) -> Anomaly:
    is_usual = before >= MIN_IGNORED and one.times <= USUAL_FACTOR * before
    return build_anomaly(
        "ignored-messages",
        "provider",
        one.provider,
        IGNORED_SENTENCES[one.reason].format(one.times, one.provider),
        now=one.times,
        before=before,
        weight="notice" if is_usual else "alarm",
        criteria=EventCriteria(
            type="callback.rejected", event_reason=one.reason, provider=one.provider
        ),
    )
