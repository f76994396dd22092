"""Joins what was observed in different processes into one history.

A call names itself by its trace, which its events and observations carry. So the calls of messages and
comparisons are known, also of calls whose answers were lost.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from otp_service.core.delivery import SubmissionReference
from tests.simulation.history import (
    Answered,
    CallRecord,
    ComparisonRecord,
    FaultKind,
    FaultRecord,
    History,
    StoredEvent,
    SubmissionRecord,
    Unavailable,
)
from tests.simulation.live.live_installation import build_trace
from tests.simulation.live.observer import Observation


def link_records(
    history: History, observations: Sequence[Observation], faults: Iterable[FaultRecord]
) -> History:
    """Return the history with the comparisons, the calls of all records, and these further faults."""
    calls = {build_trace(call.number): call for call in history.calls}
    events = [_link_event(event, calls) for event in history.events]
    opted_out = {
        event.members.get("request")
        for event in events
        if event.members.get("type") == "number.opted_out"
    }
    return replace(
        history,
        calls=tuple(_complete_call(call, opted_out) for call in history.calls),
        submissions=tuple(
            _link_submissions(
                [*history.submissions, *_list_lost_submissions(history, observations)],
                observations,
                calls,
            )
        ),
        comparisons=tuple(_list_comparisons(observations, calls)),
        events=tuple(events),
        faults=tuple(
            sorted(
                (*history.faults, *faults, *_list_observed_outages(history)),
                key=lambda fault: fault.at,
            )
        ),
    )


def _list_observed_outages(history: History) -> Iterable[FaultRecord]:
    """Yield a span for each 503 before the calm: the store did not answer its host in time.

    On a busy machine that needs no fault. What a call was charged is refunded once the store answers
    again, and a host that has just been refused shows that it did not. After the calm, a 503 is a finding.
    """
    for call in history.calls:
        outcome = call.outcome
        is_closed = isinstance(outcome, Unavailable) and outcome.reason == "store-unavailable"
        if is_closed and call.started_at < history.calm_since:
            yield FaultRecord(
                kind=FaultKind.LINK_SLOW,
                at=call.started_at,
                until=call.ended_at,
                target=f"{call.worker} and store",
            )


def _link_event(event: StoredEvent, calls: Mapping[str, CallRecord]) -> StoredEvent:
    """Return the event with the name of its call in place of the id that the service has drawn."""
    call = calls.get(str(event.members.get("trace")))
    if call is None:
        return event
    return replace(event, members={**event.members, "request": call.request})


def _complete_call(call: CallRecord, opted_out: set[object]) -> CallRecord:
    """Return the call with its result, which a 204 does not have: the event of an opt-out says it."""
    if not isinstance(call.outcome, Answered) or call.request not in opted_out:
        return call
    return replace(call, outcome=Answered({"result": "opted_out"}))


def _list_lost_submissions(
    history: History, observations: Sequence[Observation]
) -> Iterable[SubmissionRecord]:
    """Yield each message that a worker gave to a provider, and that did not arrive there."""
    arrived = {name_submission(submission) for submission in history.submissions}
    for one in observations:
        if one.kind != "asked" or one.reference in arrived:
            continue
        reference = SubmissionReference.parse(one.reference)
        assert reference, one.reference
        yield SubmissionRecord(
            at=one.at,
            provider=one.provider,
            tenant=reference.tenant,
            number=one.number,
            code=one.code,
            challenge=reference.challenge_id,
            send=reference.send,
            ordinal=reference.ordinal,
            is_taken=False,
            answer=None,
        )


def _link_submissions(
    submissions: Sequence[SubmissionRecord],
    observations: Sequence[Observation],
    calls: Mapping[str, CallRecord],
) -> Iterable[SubmissionRecord]:
    """Yield each submission with its call, and with what the service has learned of it.

    A vendor does not know whether its reply arrived, so what the worker reports takes precedence. A
    worker that was killed before its report has learned nothing.
    """
    asked = {one.reference: one for one in observations if one.kind == "asked"}
    learned = {one.reference: one for one in observations if one.kind == "learned"}
    for submission in submissions:
        reference = name_submission(submission)
        request, result = asked.get(reference), learned.get(reference)
        call = calls.get(request.trace) if request else None
        yield replace(
            submission,
            call=None if call is None else call.number,
            answer=result.answer if result else None,
            fault=result.fault if result else None,
        )


def name_submission(submission: SubmissionRecord) -> str:
    """Return the reference of a submission, as the service writes it."""
    parts = (submission.tenant, submission.challenge, submission.send, submission.ordinal)
    return str(SubmissionReference(*parts))


def _list_comparisons(
    observations: Sequence[Observation], calls: Mapping[str, CallRecord]
) -> Iterable[ComparisonRecord]:
    for one in observations:
        if one.kind != "comparison":
            continue
        call = calls.get(one.trace)
        arguments = {} if call is None else call.arguments
        subject = arguments.get("challenge") or arguments.get("recovery_set") or ""
        yield ComparisonRecord(
            at=one.at,
            worker=call.worker if call else "",
            call=None if call is None else call.number,
            subject=str(subject),
            code=one.code,
            salt=one.salt,
        )
