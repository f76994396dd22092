"""Rules that find an attack in one period alone, so also on the first day.

The day before makes a finding a notice, where its share was about the same then: it is usual here.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.anomaly import Anomaly, Weight, build_anomaly
from otp_service.audit.reports.attack_stats import PrefixRow
from otp_service.audit.reports.factor_stats import FACTOR_NAMES
from otp_service.audit.reports.stats import StatsOverview


MIN_BASELINE_CHALLENGES: Final = 20
"""Challenges that a period needs for others to be compared with it."""

MIN_WRONG_CODES: Final = 10
"""Wrong codes of one number or account. `FailuresPerNumber` refuses the eleventh in an hour."""

MIN_PUMPED_SENDS, MAX_PUMPED_CONVERSION = 20, 0.1
"""Pumping: more settled challenges than that for one prefix or country, of which fewer were verified."""

MIN_WRONG_KEYS: Final = 10
"""Calls without a valid key from which on they are an alarm; one back end with an old key makes few."""

USUAL_FACTOR: Final = 2
"""A share of at most that multiple of the one in the period before is usual."""


def has_baseline(before: StatsOverview) -> bool:
    """Whether the period before has enough challenges to compare with."""
    return before.total.issued >= MIN_BASELINE_CHALLENGES


def find_absolute_anomalies(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    yield from _find_repeats(today)
    yield from _find_wrong_codes(today)
    yield from _find_locked_challenges(today, before)
    yield from _find_client_ip_changes(today, before)
    yield from _find_pumping(today)
    yield from _find_wrong_keys(today, before)
    yield from _find_locked_numbers(today)
    yield from _find_locked_accounts(today)


def _weigh(now: float, usual: float, before: StatsOverview) -> Weight:
    """Return whether a count or share is an alarm, or usual here."""
    is_usual = has_baseline(before) and now <= USUAL_FACTOR * usual
    return "notice" if is_usual else "alarm"


def _find_repeats(today: StatsOverview) -> Iterator[Anomaly]:
    for challenge in today.accepted_twice:
        sentence = f"The code of {challenge} was accepted more than once."
        criteria = EventCriteria(type="otp.verified", challenge=challenge)
        yield build_anomaly(
            "accepted", "challenge", challenge, sentence, now=2, before=1, criteria=criteria
        )
    if today.copies:
        verb = "event occurs" if today.copies == 1 else "events occur"
        sentence = (
            f"{today.copies} {verb} a second time, and that is not counted: after a failover, or "
            "copied by a client of Redis. 'otp-service audit verify' names them."
        )
        yield build_anomaly("copies", "log", "", sentence, now=today.copies)


def _find_wrong_codes(today: StatsOverview) -> Iterator[Anomaly]:
    for one in today.attacks.guessed:
        if one.wrong_codes < MIN_WRONG_CODES:
            continue
        factor = FACTOR_NAMES[one.event_type.partition(".")[0]]
        owner = f"the number {one.country or ''} …{one.number_suffix or '?'}"
        if one.dimension == "account":
            owner = f"the account {one.pseudonym}"
        yield build_anomaly(
            "wrong-codes",
            one.dimension,
            one.pseudonym,
            f"{one.wrong_codes} codes of {factor} were wrong for {owner}.",
            now=one.wrong_codes,
            criteria=EventCriteria(type=one.event_type, pseudonym=one.pseudonym),
        )


def _find_locked_challenges(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    locked, then = today.attacks.locked_challenges, before.attacks.locked_challenges
    if locked:
        share, usual = _divide(locked, today.total.issued), _divide(then, before.total.issued)
        subject = "challenge ran" if locked == 1 else "challenges ran"
        yield build_anomaly(
            "attempts-exhausted",
            "log",
            "",
            f"{locked} {subject} out of attempts, of {today.total.issued} that were issued.",
            now=locked,
            before=then,
            weight=_weigh(share, usual, before),
            criteria=EventCriteria(type="otp.locked", event_reason="attempts_exhausted"),
        )


def _find_client_ip_changes(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    now, then = today.attacks, before.attacks
    if now.client_ip_changes:
        share = _divide(now.client_ip_changes, now.compared_client_ips)
        usual = _divide(then.client_ip_changes, then.compared_client_ips)
        subject = "challenge was" if now.client_ip_changes == 1 else "challenges were"
        yield build_anomaly(
            "client-ip-changed",
            "log",
            "",
            f"{now.client_ip_changes} {subject} verified from another client IP than issued for, of"
            f" {now.compared_client_ips}.",
            now=now.client_ip_changes,
            before=then.client_ip_changes,
            weight=_weigh(share, usual, before),
            criteria=EventCriteria(type="otp.verified", client_ip_changed=True),
        )


def _find_pumping(today: StatsOverview) -> Iterator[Anomaly]:
    """Find prefixes, and countries with too few codes that came back outside these prefixes."""
    issued, verified, pending = Counter[str](), Counter[str](), Counter[str]()
    for prefix in filter(_is_pumped, today.attacks.prefixes):
        issued[prefix.country or ""] += prefix.issued
        verified[prefix.country or ""] += prefix.verified
        pending[prefix.country or ""] += prefix.pending
        where = f"one block of 10,000 numbers in {prefix.country or 'an unknown country'}"
        criteria = EventCriteria(type="otp.issued", pseudonym=prefix.prefix)
        yield _build_pumping("prefix", prefix, where, criteria)
    for country, row in today.countries:
        rest = PrefixRow(
            country,
            country,
            row.issued - issued[country],
            row.verified - verified[country],
            row.pending - pending[country],
        )
        if _is_pumped(rest):
            others = " outside these" if issued[country] else ""
            criteria = EventCriteria(type="otp.issued", country=country)
            yield _build_pumping("country", rest, f"{country}{others}", criteria)


def _is_pumped(row: PrefixRow) -> bool:
    is_large = row.settled > MIN_PUMPED_SENDS
    return is_large and row.verified < MAX_PUMPED_CONVERSION * row.settled


def _build_pumping(
    dimension: Literal["prefix", "country"], row: PrefixRow, where: str, criteria: EventCriteria
) -> Anomaly:
    conversion = _divide(row.verified, row.settled)
    pending = f"; {row.pending} more can still be entered" if row.pending else ""
    sentence = f"{row.settled} codes were sent to {where}, and {conversion:.0%} came back{pending}."
    return build_anomaly(
        "pumping", dimension, row.prefix, sentence, now=row.settled, criteria=criteria
    )


def _find_wrong_keys(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    calls = today.without_key
    if calls:
        is_few = calls < MIN_WRONG_KEYS
        usual: Weight = _weigh(calls, before.without_key, before)
        subject = "call had" if calls == 1 else "calls had"
        sentence = f"{calls} {subject} no valid key or scope."
        yield build_anomaly(
            "wrong-keys",
            "log",
            "",
            sentence,
            now=calls,
            before=before.without_key,
            weight="notice" if is_few else usual,
            criteria=EventCriteria(type="access.denied"),
        )


def _find_locked_numbers(today: StatsOverview) -> Iterator[Anomaly]:
    for lock in today.locked:
        suffix = lock.number_suffix
        sentence = f"A number that ends in {suffix} is locked until an operator unlocks it."
        criteria = EventCriteria(
            type="otp.locked", event_reason="number_locked", pseudonym=lock.number
        )
        yield build_anomaly("locked", "number", lock.number, sentence, now=1, criteria=criteria)


def _find_locked_accounts(today: StatsOverview) -> Iterator[Anomaly]:
    for lock in today.locked_accounts:
        sentence = (
            f"An account of {lock.tenant} is locked for {FACTOR_NAMES[lock.factor]} until an operator"
            " unlocks it."
        )
        yield build_anomaly(
            "locked",
            "account",
            lock.account,
            sentence,
            now=1,
            criteria=EventCriteria(
                type=f"{lock.factor}.locked",
                event_reason="account_locked",
                pseudonym=lock.account,
                tenant=lock.tenant,
            ),
        )


def _divide(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
