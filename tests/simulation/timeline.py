"""A history as text that a person can read: one line for each thing that happened, in order of time.

What a worker did begins in its column; what happened to all of them, and what an audit has found, begins
at the left. A call has its number at its start and its end, and long values are shortened.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.simulation.auditor.violation import Violation
from tests.simulation.history import (
    Answered,
    CallRecord,
    ComparisonRecord,
    Failed,
    FaultRecord,
    History,
    Outcome,
    PlainValue,
    Refused,
    StoredEvent,
    SubmissionRecord,
    Unavailable,
)


COLUMN_CHARS = 14
MAX_VALUE_CHARS = 16
MAX_LIST_LENGTH = 2
SECOND_MS = 1000
NO_WORKER = ""


class TimelineEntry(NamedTuple):
    """One line. Entries of one instant are ordered by `rank`, and else as they were recorded."""

    at: int
    rank: int
    worker: str
    """Empty for a line at the left."""
    text: str


def format_timeline(history: History, violations: Sequence[Violation] = ()) -> str:
    """Return the lines of a history, with each violation at the instant at which it was certain."""
    workers = _list_workers(history)
    entries = sorted(_list_entries(history, violations), key=lambda entry: entry[:2])
    lines = [_format_summary(history, violations), "", _format_heading(workers)]
    for entry in entries:
        seconds = (entry.at - history.started_at) / SECOND_MS
        indent = "" if entry.worker == NO_WORKER else " " * _find_indent(workers, entry.worker)
        lines.append(f"{seconds:9.3f}  {indent}{entry.text}")
    return "\n".join(lines) + "\n"


def _list_entries(history: History, violations: Sequence[Violation]) -> Iterator[TimelineEntry]:
    for fault in history.faults:
        yield from _list_fault_entries(fault, history.started_at)
    calls = {call.request: call for call in history.calls}
    for call in history.calls:
        yield TimelineEntry(call.started_at, 1, call.worker, _describe_start(call))
        if call.ended_at is not None:
            yield TimelineEntry(call.ended_at, 5, call.worker, _describe_end(call))
    for comparison in history.comparisons:
        text = _describe_comparison(comparison)
        yield TimelineEntry(comparison.at, 2, comparison.worker, text)
    for submission in history.submissions:
        sender = NO_WORKER if submission.call is None else history.calls[submission.call].worker
        yield TimelineEntry(submission.at, 3, sender, _describe_submission(submission))
    for event in history.events:
        writer = calls.get(str(event.members.get("request")))
        worker = writer.worker if writer else NO_WORKER
        yield TimelineEntry(event.at, 4, worker, _describe_event(event, writer))
    yield TimelineEntry(history.calm_since, 6, NO_WORKER, "-- no faults from here on")
    for error in history.unhandled_errors:
        yield TimelineEntry(history.ended_at, 6, NO_WORKER, f"!! {error}")
    for violation in violations:
        yield TimelineEntry(violation.at, 7, NO_WORKER, describe_violation(violation))


def describe_violation(violation: Violation) -> str:
    """Return a violation as one line."""
    parts = [f"!! {violation.promise}: {violation.rule}"]
    if violation.subject:
        parts.append(f"({violation.subject})")
    if violation.details:
        parts.append(f"[{violation.details}]")
    if violation.calls:
        parts.append(f"in calls {', '.join(map(str, violation.calls))}")
    return " ".join(parts)


def _list_fault_entries(fault: FaultRecord, started_at: int) -> Iterator[TimelineEntry]:
    parts = [f"-- {fault.kind}", fault.target]
    if fault.lost_writes:
        parts.append(f"loses {fault.lost_writes} writes")
    if fault.jump_ms:
        parts.append(f"by {fault.jump_ms} ms")
    lasts = fault.until is None or fault.until > fault.at
    if lasts and fault.until is not None:
        parts.append(f"until {(fault.until - started_at) / SECOND_MS:.3f}")
    yield TimelineEntry(fault.at, 0, NO_WORKER, " ".join(part for part in parts if part))
    if lasts and fault.until is not None:
        yield TimelineEntry(fault.until, 0, NO_WORKER, f"-- end of {fault.kind} {fault.target}")


def _describe_start(call: CallRecord) -> str:
    tenant = f" at {call.tenant}" if call.tenant else ""
    return f"{call.number}> {call.kind} {_format_values(call.arguments)} by {call.actor}{tenant}"


def _describe_end(call: CallRecord) -> str:
    return f"{call.number}< {describe_outcome(call.outcome)}"


def describe_outcome(outcome: Outcome | None) -> str:
    """Return an outcome as a few words."""
    if isinstance(outcome, Answered):
        return f"answered {_format_values(outcome.value)}".strip()
    if isinstance(outcome, Refused):
        limit = f" by {outcome.limit}" if outcome.limit else ""
        wait = f" for {outcome.retry_after} s" if outcome.retry_after is not None else ""
        return f"refused {outcome.reason}{limit}{wait} {_format_values(outcome.details)}".strip()
    if isinstance(outcome, Unavailable):
        return f"503 {outcome.reason}"
    if isinstance(outcome, Failed):
        return f"500 {outcome.error}"
    return "never ended" if outcome is None else type(outcome).__name__.lower()


def _describe_comparison(comparison: ComparisonRecord) -> str:
    verdict = {True: ", right", False: ", wrong", None: ""}[comparison.is_right]
    subject = _shorten(comparison.subject)
    return f"{_name_call(comparison.call)} compares {comparison.code} with {subject}{verdict}"


def _describe_submission(submission: SubmissionRecord) -> str:
    place = f"{_shorten(submission.challenge)} {submission.send}.{submission.ordinal}"
    really = (
        ""
        if submission.is_taken == (submission.answer == "accepted")
        else (", and took it" if submission.is_taken else ", and did not take it")
    )
    answer = submission.answer or "no answer"
    return (
        f"{_name_call(submission.call)} sends {submission.code} of {place} to {submission.number}"
        f" through {submission.provider}: {answer}{really}"
    )


def _describe_event(event: StoredEvent, call: CallRecord | None) -> str:
    reason = f" {event.members['reason']}" if event.members.get("reason") else ""
    writer = f"{call.number}  " if call else ""
    position = f"{event.partition:02}-{event.sequence}"
    return f"{writer}* {event.members.get('type', 'unreadable')}{reason} {position}"


def _name_call(number: int | None) -> str:
    return "?" if number is None else f"{number} "


def _format_values(values: Mapping[str, PlainValue]) -> str:
    return " ".join(f"{name}={_shorten(value)}" for name, value in values.items())


def _shorten(value: PlainValue) -> str:
    """Return a value of at most `MAX_VALUE_CHARS` characters, or the beginning of it."""
    if isinstance(value, list):
        shown = ",".join(_shorten(item) for item in value[:MAX_LIST_LENGTH])
        return f"{shown},…" if len(value) > MAX_LIST_LENGTH else shown
    text = str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 1]}…"


def _format_summary(history: History, violations: Sequence[Violation]) -> str:
    counts = {
        "calls": len(history.calls),
        "messages": len(history.submissions),
        "comparisons": len(history.comparisons),
        "events": len(history.events),
        "faults": len(history.faults),
        "violations": len(violations),
    }
    return f"seed {history.seed}: {', '.join(f'{name} {count}' for name, count in counts.items())}"


def _list_workers(history: History) -> list[str]:
    names = {call.worker for call in history.calls}
    return sorted(names | {comparison.worker for comparison in history.comparisons})


def _find_indent(workers: Sequence[str], worker: str) -> int:
    return COLUMN_CHARS * workers.index(worker)


def _format_heading(workers: Sequence[str]) -> str:
    columns = "".join(worker.ljust(COLUMN_CHARS) for worker in workers)
    return f"  seconds  {columns}".rstrip()
