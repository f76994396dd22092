"""What the brake counts as unverified is the messages that nothing has verified, in both directions.

The contract: docs/pumping.md "What it is for" (each message is a debt, until its challenge is verified; then
all messages of that challenge are repaid, resends too; a message that no provider took does not count),
"Known numbers" (an exempt message is no debt; a passed bot check halves the charge, of the issue alone) and
"Modes" (what would have been refused is charged nowhere else). The events of sends say how each counts
(audit/EVENTS.md, `measure` and `over_limit`).
"""

from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import AUTOMATIC_KINDS, ChallengeFacts, HistoryIndex, read_text
from tests.simulation.auditor.limit_subjects import (
    COUNTRY_CODES,
    NUMBER_PREFIX_DIGITS,
    Subject,
    find_network,
)
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import (
    Answered,
    CallRecord,
    FaultKind,
    Refused,
    StoredDebt,
    StoredEvent,
    Unavailable,
)


build = partial(build_violation, Promise.CHARGES)

DAY_MS = 86_400_000
BLOCK_DIGITS = 5
SEND_EVENTS = frozenset({"otp.issued", "otp.resent"})
MESSAGE_SLACK = 0.001
"""Less than the half of a message that a bot check leaves."""


def check_debts(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each scope that counts more or fewer messages than its calls explain."""
    disturbance = index.disturbance
    is_rotated = any(
        fault.kind == FaultKind.KEY_ROTATION and fault.target == "limit"
        for fault in index.history.faults
    )
    for debt in index.history.debts:
        if is_rotated or disturbance.has_clock_step(0, debt.read_at):
            continue
        most, least = _count_most(index, debt), _count_least(index, debt)
        if debt.messages > most + MESSAGE_SLACK:
            yield _build(debt, f"{debt.limit} kept a debt that is repaid", most)
        if debt.messages < least - MESSAGE_SLACK:
            yield _build(debt, f"{debt.limit} lacks a debt", least)


def _count_most(index: HistoryIndex, debt: StoredDebt) -> float:
    """Return how many messages may be charged: those of each call that is not refunded or repaid."""
    return sum(
        _may_be_charged(index, call, debt)
        for call in index.history.calls
        if call.kind in AUTOMATIC_KINDS | {"issue", "resend"}
    )


def _may_be_charged(index: HistoryIndex, call: CallRecord, debt: StoredDebt) -> bool:
    facts = _find_challenge(index, call)
    number = read_text(call, "phone_number") or (facts.number if facts else "")
    address = read_text(call, "client_ip") or (facts.client_ip or "" if facts else "")
    tenant = call.tenant or (facts.tenant if facts else "")
    if not _has_subject(debt, (tenant, number, address)):
        return False
    if isinstance(call.outcome, Refused | Unavailable) and _is_refundable(index, call):
        return index.disturbance.find_release(call) > debt.read_at
    return facts is None or not _is_repaid(index, facts, call, debt)


def _is_refundable(index: HistoryIndex, call: CallRecord) -> bool:
    """Return whether a refusal gives its charge back.

    One that the recipient has caused does not, and a 503 after a message that may have been taken.
    """
    if isinstance(call.outcome, Unavailable):
        return all(one.answer == "refused" for one in index.get_submissions(call))
    return not isinstance(call.outcome, Refused) or call.outcome.reason != "undeliverable"


def _is_repaid(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord, debt: StoredDebt
) -> bool:
    """Return whether a success has certainly repaid the message of a call that ended before it."""
    for verify in facts.verifies:
        if not isinstance(verify.outcome, Answered) or call.ended_at is None:
            continue
        is_before = call.ended_at < verify.started_at and call.kind not in AUTOMATIC_KINDS
        if is_before and not _has_fault(index, verify.started_at, debt.read_at):
            return True
    return False


def _has_fault(index: HistoryIndex, start: int, end: int) -> bool:
    """Return whether anything was wrong in a span: a repayment may be lost, or late."""
    return any(
        fault.at <= end and (fault.until is None or fault.until >= start)
        for fault in index.history.faults
    )


def _count_least(index: HistoryIndex, debt: StoredDebt) -> float:
    """Return how many messages of the last day are certainly charged, and by no success repaid."""
    charged, first = 0.0, debt.read_at
    for facts in index.challenges.values():
        subject = (facts.tenant, facts.number, facts.client_ip or "")
        if not _has_subject(debt, subject) or _may_be_verified(facts):
            continue
        for event in facts.events:
            call = index.calls_by_request.get(str(event.members.get("request")))
            if call is not None and _is_certain(index, event, call, debt):
                charged += _measure_charge(call)
                first = min(first, call.started_at)
    lost = index.disturbance.count_lost_writes(first, debt.read_at, is_durable=False)
    return charged - lost


def _may_be_verified(facts: ChallengeFacts) -> bool:
    return any(not isinstance(verify.outcome, Refused) for verify in facts.verifies)


def _is_certain(
    index: HistoryIndex, event: StoredEvent, call: CallRecord, debt: StoredDebt
) -> bool:
    """Return whether an event of a send says that it is a debt, and its message was sent."""
    members = event.members
    is_debt = members.get("measure") == "unverified" and not members.get("over_limit")
    is_sent = any(s.answer == "accepted" for s in index.get_submissions(call))
    is_inside = debt.read_at - DAY_MS < call.started_at and (call.ended_at or 0) <= debt.read_at
    is_answered = isinstance(call.outcome, Answered) and is_inside
    return members.get("type") in SEND_EVENTS and is_debt and is_sent and is_answered


def _measure_charge(call: CallRecord) -> float:
    return 0.5 if call.kind == "issue" and call.arguments.get("bot_check") == "passed" else 1


def _has_subject(debt: StoredDebt, values: Subject) -> bool:
    """Return whether tenant, number and address are those of the scope."""
    tenant, number, address = values
    match debt.limit:
        case "UnverifiedPerRange":
            return debt.subject == (number[:-NUMBER_PREFIX_DIGITS],)
        case "UnverifiedPerOperatorBlock":
            return debt.subject == (number[:-BLOCK_DIGITS],)
        case "UnverifiedPerCountryAndTenant":
            return debt.subject == (tenant, COUNTRY_CODES.get(number[:3]))
        case _:
            return debt.subject == (tenant, find_network(address))


def _find_challenge(index: HistoryIndex, call: CallRecord) -> ChallengeFacts | None:
    """Return the challenge that a call has made or names."""
    if isinstance(call.outcome, Answered) and "id" in call.outcome.value:
        return index.challenges.get(str(call.outcome.value["id"]))
    for submission in index.get_submissions(call):
        return index.challenges.get(submission.challenge)
    _tenant, _dot, reference = read_text(call, "reference").partition(".")
    return index.challenges.get(read_text(call, "challenge") or reference.partition(".")[0])


def _build(debt: StoredDebt, rule: str, bound: float) -> Violation:
    return build(
        rule,
        [],
        subject=" ".join(debt.subject),
        details=f"{debt.messages:g} messages are unverified, and {bound:g} are explained",
        at=debt.read_at,
    )
