"""Each change has exactly one event, and each event a change.

The contract: audit/EVENTS.md (Redis appends an event in the same step as the change that it describes, so
neither exists without the other; refusals may be folded after ten in a minute; a 503 writes none). A change
is matched with its event by the request id, the type and the challenge. With enough replicas, the events of
an issue, an attempt and a success survive a failover, because they are in the commit that does.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

from tests.simulation.auditor.index import (
    AUTOMATIC_KINDS,
    ChallengeFacts,
    HistoryIndex,
    read_text,
)
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import (
    Answered,
    CallRecord,
    FaultKind,
    Refused,
    StoredEvent,
)


build = partial(build_violation, Promise.EVENTS)

CHANGES: Mapping[str, tuple[str, ...]] = {
    "issue": ("otp.issued",),
    "deliver": ("delivery.created",),
    "resend": ("otp.resent",),
    "verify": ("otp.attempted", "otp.verified"),
    "confirm_authenticator": ("authenticator.attempted", "authenticator.confirmed"),
    "verify_authenticator": ("authenticator.attempted", "authenticator.verified"),
    "verify_recovery_code": ("recovery.attempted", "recovery.used"),
    "create_recovery_codes": ("recovery.created",),
}
"""The events of an answered call that repeats no other one."""
FAILURES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("verify", "incorrect-code"): ("otp.attempted", "otp.rejected"),
    ("confirm_authenticator", "incorrect-code"): (
        "authenticator.attempted",
        "authenticator.rejected",
    ),
    ("verify_authenticator", "incorrect-code"): (
        "authenticator.attempted",
        "authenticator.rejected",
    ),
    ("confirm_authenticator", "code-already-used"): (
        "authenticator.attempted",
        "authenticator.replayed",
    ),
    ("verify_authenticator", "code-already-used"): (
        "authenticator.attempted",
        "authenticator.replayed",
    ),
    ("verify_recovery_code", "incorrect-code"): ("recovery.attempted", "recovery.rejected"),
    ("verify_recovery_code", "code-already-used"): ("recovery.attempted", "recovery.rejected"),
}
MESSAGES: Mapping[str, tuple[str, str]] = {
    "issue": ("otp.sent", "otp.provider_failed"),
    "resend": ("otp.sent", "otp.provider_failed"),
    "deliver": ("delivery.sent", "delivery.provider_failed"),
}
"""The events of a message that may have been taken, and of one that was not."""
DENIALS: Mapping[str, tuple[str, frozenset[str]]] = {
    "issue": (
        "otp.issue_denied",
        frozenset({"rate-limited", "number-not-allowed", "number-locked", "account-locked"}),
    ),
    "deliver": (
        "delivery.denied",
        frozenset({"rate-limited", "number-not-allowed", "number-locked", "account-locked"}),
    ),
    "verify": (
        "otp.verify_denied",
        frozenset(
            {
                "rate-limited",
                "number-locked",
                "account-locked",
                "challenge-locked",
                "challenge-canceled",
                "challenge-already-verified",
                "malformed-code",
            }
        ),
    ),
}
"""The event of a refusal, and the refusals that write it."""
MAX_UNFOLDED = 10
"""audit/EVENTS.md: up to ten a minute with the same key, number or account, and reason."""

SINGLE_TYPES = ("otp.issued", "otp.verified", "otp.canceled", "delivery.created")
"""What happens to a challenge at most once."""
DURABLE_TYPES = frozenset(
    {
        "otp.issued",
        "otp.attempted",
        "otp.verified",
        "delivery.created",
        "authenticator.attempted",
        "authenticator.confirmed",
        "authenticator.verified",
        "recovery.attempted",
        "recovery.used",
    }
)
CALL_TYPES = DURABLE_TYPES | {
    "otp.resent",
    "otp.rejected",
    "authenticator.rejected",
    "authenticator.replayed",
    "recovery.rejected",
    "recovery.created",
}
"""The events that only a call of this history can have written."""
SUCCESS_TYPES = frozenset(
    {"otp.verified", "authenticator.confirmed", "authenticator.verified", "recovery.used"}
)
SENDING_TYPES = frozenset({"otp.issued", "otp.resent", "delivery.created"})
FAILURE_TYPES = frozenset(
    {"otp.rejected", "authenticator.rejected", "authenticator.replayed", "recovery.rejected"}
)
SENDING_REFUSALS = frozenset({"delivery-failed", "undeliverable"})


def check_log_changes(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each change without its event, and each event without its change."""
    repeats = _find_repeats(index)
    for call in index.history.calls:
        events = index.events_by_request.get(call.request, [])
        types = Counter(str(event.members.get("type")) for event in events if not _is_fold(event))
        if call.number not in repeats:
            yield from _check_expected(index, call, types)
        for event in events:
            yield from _check_event(call, event)
    yield from _check_denials(index)
    for facts in index.challenges.values():
        if facts.events:
            yield from _check_challenge(index, facts)
    for event in index.history.events:
        request = event.members.get("request")
        if event.members.get("type") in CALL_TYPES and request not in index.calls_by_request:
            yield build("an event names no call", [], at=event.at, details=str(event.members))


def _find_repeats(index: HistoryIndex) -> set[int]:
    """Return the calls that may be repeats of another one with their key."""
    return {
        call.number for calls in index.calls_by_key.values() if len(calls) > 1 for call in calls
    }


def _is_fold(event: StoredEvent) -> bool:
    return "folded" in event.members


def _check_expected(
    index: HistoryIndex, call: CallRecord, types: Counter[str]
) -> Iterator[Violation]:
    """Check that an answered or failed call has each of its events, and each once."""
    expected: Counter[str] = Counter()
    if isinstance(call.outcome, Answered):
        expected.update(CHANGES.get(call.kind, ()))
        if call.kind in MESSAGES:
            taken, failed = MESSAGES[call.kind]
            for submission in index.get_submissions(call):
                expected[failed if submission.answer == "refused" else taken] += 1
    elif isinstance(call.outcome, Refused):
        expected.update(FAILURES.get((call.kind, call.outcome.reason), ()))
    for kind, count in expected.items():
        if types[kind] < count and not index.disturbance.has_lost_writes(
            call.started_at, math.inf, is_durable=kind in DURABLE_TYPES
        ):
            yield build("a change has no event", [call], details=f"{types[kind]} of {count} {kind}")
        elif types[kind] > count:
            yield build("a change has two events", [call], details=f"{types[kind]} {kind}")


def _check_event(call: CallRecord, event: StoredEvent) -> Iterator[Violation]:
    """Check that an event may be one of its call: by its answer, and by its challenge."""
    kind, outcome = str(event.members.get("type")), call.outcome
    reason = outcome.reason if isinstance(outcome, Refused) else None
    is_wrong = (
        (kind in SUCCESS_TYPES and reason is not None)
        or (kind in SENDING_TYPES and reason is not None and reason not in SENDING_REFUSALS)
        or (
            kind in FAILURE_TYPES
            and (isinstance(outcome, Answered) or (call.kind, reason) not in FAILURES)
            and isinstance(outcome, Answered | Refused)
        )
        or (
            kind.endswith("_denied")
            and isinstance(outcome, Answered)
            and call.kind not in AUTOMATIC_KINDS  # what follows a receipt may be refused
        )
    )
    if is_wrong and not _is_fold(event):
        yield build("an event says otherwise than the answer", [call], at=event.at, details=kind)
    challenge, named = event.members.get("challenge"), read_text(call, "challenge")
    if isinstance(outcome, Answered) and call.kind in MESSAGES and not named:
        named = str(outcome.value.get("id", ""))
    if challenge is not None and named and challenge != named and not _is_fold(event):
        yield build("an event names another challenge than its call", [call], details=kind)
    tenant = event.members.get("tenant")
    if call.tenant and tenant is not None and tenant != call.tenant:
        yield build("an event names another tenant than its call", [call], details=kind)


def _check_denials(index: HistoryIndex) -> Iterator[Violation]:
    """Check that a refusal has its event, where there are too few of its kind to be folded."""
    if any(fault.kind == FaultKind.ARCHIVE_FULL for fault in index.history.faults):
        return  # each refusal is folded, or only counted, while the log is full
    refused: dict[tuple[str, str, str], list[CallRecord]] = {}
    for call in index.history.calls:
        if isinstance(call.outcome, Refused) and call.kind in DENIALS:
            kind, reasons = DENIALS[call.kind]
            if call.outcome.reason in reasons:
                refused.setdefault((kind, call.tenant, call.outcome.reason), []).append(call)
    for (kind, _tenant, _reason), calls in refused.items():
        for call in calls if len(calls) <= MAX_UNFOLDED else ():
            events = index.events_by_request.get(call.request, ())
            count = sum(event.members.get("type") == kind for event in events)
            is_lost = index.disturbance.has_lost_writes(call.started_at, math.inf, is_durable=False)
            if count > 1 or (count == 0 and not is_lost):
                yield build("a refusal has not one event", [call], details=f"{count} {kind}")


def _check_challenge(index: HistoryIndex, facts: ChallengeFacts) -> Iterator[Violation]:
    """Check what happens to a challenge at most once."""
    counts = Counter(
        str(event.members.get("type"))
        for event in facts.events
        if not event.members.get("repeated") and not _is_fold(event)
    )
    start, end = facts.events[0].at, index.history.ended_at
    is_lost = index.disturbance.has_lost_writes(start, end, is_durable=False)
    doubled = [kind for kind in SINGLE_TYPES if counts[kind] > 1]
    if counts["otp.verified"] and counts["otp.canceled"]:
        doubled.append("otp.verified and otp.canceled")
    for kind in doubled if not is_lost else ():
        rule = "events say that a challenge began or ended twice"
        calls = [call for call in (facts.creation, *facts.verifies, *facts.cancels) if call]
        yield build(rule, calls, subject=facts.id, details=kind)
