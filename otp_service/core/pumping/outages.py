"""Notices from two kinds of evidence that messages to a country do not arrive.

During an outage nothing verifies. Its sends would be debts of honest people, and be refused soon. So an
outage changes the measure: its sends are compared with the usual volume (`send_debts.choose_measure`).

**Breakers.** Every provider of the country's route fails there. An attacker cannot open a breaker with
bad numbers: a refused message counts only if another provider then accepted it, and a number once in ten
minutes (`sms/provider_health.py`). An attack that overloads every provider opens them all, and then is
measured by its volume.

**Known numbers.** Almost none of the exempt sends of a tenant's country has verified, although most do at
this time of day, and almost nothing verifies compared with the day before. Both are needed. An attacker
with seven known numbers can leave twenty exempt sends unverified, but cannot keep others from verifying.
So this can be forged only in a country in which a tenth of the usual people log in: on a holiday, or if
the tenant itself is away. A new country cannot be forged at all, because nothing is usual there.

What is gained by a forged outage is the allowance of volume: VOLUME_FACTOR times the usual volume of the
country and its floors, instead of the unverified part of it. Ranges, blocks and addresses have no budget
then but those of `core/limits.py`, and the budget of the day holds.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from otp_service.core.pumping.send_debts import Outage
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS


EVIDENCE_SLOT_MS: Final = 10 * MINUTE_MS
"""Exempt sends and their verifications are counted in slots of this length."""
WINDOW_SLOTS: Final = 12
"""Two hours: the longest span that is looked at."""
SLOTS_PER_DAY: Final = DAY_MS // EVIDENCE_SLOT_MS
SETTLE_MS: Final = 3 * MINUTE_MS
"""The time after a slot in which its last sends may verify. Half of all people need 15 seconds."""

MIN_EXEMPT_SENDS: Final = 20
MIN_USUAL_VERIFICATIONS: Final = 10
MIN_USUAL_SHARE: Final = 0.5
"""Of exempt sends that usually verify. With a smaller share chance alone leaves twenty unverified."""
STOPPED_SHARE: Final = 0.1
"""Of what is usual. At most this part verifies in an outage: some have another provider."""
MIN_EXPECTED: Final = 7
"""Verifications that are usual in a span of this length. With fewer of them chance alone may leave none,
and an attacker whose known numbers send twenty messages would wait for that."""
RESUMED_SLOTS: Final = 3
RESUMED_SHARE: Final = 1 / 3
MIN_RESUMED: Final = 3
"""As many verifications in RESUMED_SLOTS, and that part of the sends, end an outage."""

BREAKER_MARGIN_MS: Final = 10 * MINUTE_MS
"""The time for which an outage lasts after its last evidence: a half-open provider may fail again."""
HALF_OPEN_MS: Final = 30 * MINUTE_MS
"""The time for which a half-open breaker is evidence. One of a country without traffic stays half-open."""
UNSEEN_MS: Final = 6 * HOUR_MS
"""The time for which an outage lasts once too few known numbers send to show it: each has three
exempt sends a day, and few people log in at night."""
STRAIN_MARGIN_MS: Final = HOUR_MS
"""The time after an outage in which its country is not strained: what was sent before it was noticed
is debt of honest people."""

Scope = tuple[str, str]
"""A tenant (empty for all) and a country."""


class ExemptCounts(msgspec.Struct, frozen=True):
    """The exempt sends of one slot, and the verifications of their numbers in it."""

    sent: int = 0
    verified: int = 0


class Evidence(StrEnum):
    """What exempt sends show about a country of a tenant."""

    STOPPED = "stopped"
    RESUMED = "resumed"
    MISSING = "missing"


def list_read_slots(now: int) -> list[int]:
    """Return the slots that `judge_exempt_sends` looks at: those of two hours, and of the day before."""
    newest = now // EVIDENCE_SLOT_MS
    today = range(newest - WINDOW_SLOTS - 1, newest + 1)
    return [*(slot - SLOTS_PER_DAY for slot in today), *today]


def judge_exempt_sends(slots: Mapping[int, ExemptCounts], now: int) -> Evidence:
    """Return what the exempt sends of a country of a tenant show; `slots` are numbered since 1970.

    The shortest span with MIN_EXEMPT_SENDS and MIN_EXPECTED counts, up to the newest slot whose sends had
    SETTLE_MS to verify. Verifications count up to now.
    """
    newest = now // EVIDENCE_SLOT_MS
    settled = (now - SETTLE_MS) // EVIDENCE_SLOT_MS  # exclusive
    usual = _sum_slots(slots, settled - WINDOW_SLOTS - SLOTS_PER_DAY, settled - SLOTS_PER_DAY)
    is_usual = usual.verified >= max(MIN_USUAL_VERIFICATIONS, MIN_USUAL_SHARE * usual.sent)
    for length in range(1, WINDOW_SLOTS + 1):
        sent = _sum_slots(slots, settled - length, settled).sent
        usual_verified = usual.verified * length / WINDOW_SLOTS
        if is_usual and sent >= MIN_EXEMPT_SENDS and usual_verified >= MIN_EXPECTED:
            verified = _sum_slots(slots, settled - length, newest + 1).verified
            usual_share = min(1.0, usual.verified / max(1, usual.sent))
            expected = min(sent * usual_share, usual_verified)
            if verified <= STOPPED_SHARE * expected:
                return Evidence.STOPPED
            break
    recent = _sum_slots(slots, newest - RESUMED_SLOTS + 1, newest + 1)
    has_resumed = recent.verified >= max(MIN_RESUMED, RESUMED_SHARE * recent.sent)
    return Evidence.RESUMED if has_resumed else Evidence.MISSING


def is_without_provider(open_until: Iterable[int], now: int) -> bool:
    """Return whether every provider of a route fails; `open_until` is of their breakers, 0 for closed."""
    instants = tuple(open_until)
    return bool(instants) and all(now < instant + HALF_OPEN_MS for instant in instants)


def update_outages(
    outages: Iterable[Outage],
    failing_countries: Iterable[str],
    evidence: Mapping[Scope, Evidence],
    now: int,
) -> tuple[Outage, ...]:
    """Return the outages after a look at the evidence, and without those that are long over.

    Each has the instant at which it ends if nothing more is noticed, so an outage also ends if no
    worker looks any more. `failing_countries` are those without a provider.
    """
    by_scope = {(o.tenant, o.country): _bound_outage(o, now) for o in outages}
    for country in failing_countries:
        _extend_outage(by_scope, ("", country), now, BREAKER_MARGIN_MS)
    for scope, seen in evidence.items():
        if seen is Evidence.STOPPED:
            _extend_outage(by_scope, scope, now, UNSEEN_MS)
        elif seen is Evidence.RESUMED and scope in by_scope:
            _end_outage(by_scope, scope, now)
    kept = (o for o in by_scope.values() if (o.ended_at or 0) + STRAIN_MARGIN_MS > now)
    return tuple(sorted(kept, key=lambda o: (o.started_at, o.tenant, o.country)))


def can_be_strained(outages: Iterable[Outage], tenant: str, country: str, now: int) -> bool:
    """Return whether the debts of a country of a tenant say that it is attacked."""
    return not any(
        outage.tenant in {"", tenant}
        and outage.country in {"", country}
        and (outage.ended_at is None or now < outage.ended_at + STRAIN_MARGIN_MS)
        for outage in outages
    )


def _sum_slots(slots: Mapping[int, ExemptCounts], start: int, end: int) -> ExemptCounts:
    """Return the counts from one slot to before another one."""
    counts = [slots[slot] for slot in range(start, end) if slot in slots]
    return ExemptCounts(sum(c.sent for c in counts), sum(c.verified for c in counts))


def _bound_outage(outage: Outage, now: int) -> Outage:
    """Return an outage that does not begin in the future: the clock was set back."""
    if outage.started_at <= now:
        return outage
    ended_at = min(now + UNSEEN_MS, outage.ended_at or now)
    return msgspec.structs.replace(outage, started_at=now, ended_at=ended_at)


def _extend_outage(by_scope: dict[Scope, Outage], scope: Scope, now: int, span: int) -> None:
    """Let an outage last for `span` from now on, or begin one."""
    tenant, country = scope
    last = by_scope.get(scope)
    if last is None or (last.ended_at or 0) <= now:
        by_scope[scope] = Outage(now, now + span, country, tenant)
    else:
        by_scope[scope] = msgspec.structs.replace(last, ended_at=now + span)


def _end_outage(by_scope: dict[Scope, Outage], scope: Scope, now: int) -> None:
    last = by_scope[scope]
    by_scope[scope] = msgspec.structs.replace(last, ended_at=min(now, last.ended_at or now))
