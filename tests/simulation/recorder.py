"""Writes a history while a run is going on."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Literal

from msgspec.structs import replace

from tests.simulation.history import (
    ArchiveRecord,
    AuditSettings,
    CallRecord,
    ComparisonRecord,
    Crashed,
    FaultKind,
    FaultRecord,
    History,
    Outcome,
    PlainValue,
    StoredBudget,
    StoredBytes,
    StoredDebt,
    StoredEvent,
    SubmissionRecord,
)


CURRENT_CALL: ContextVar[int | None] = ContextVar("current_call", default=None)
"""The number of the call that runs in this context: tasks that a call starts inherit it."""


class Recorder:
    """The records of one run so far; `read_ms` returns the true time in milliseconds since 1970."""

    def __init__(self, read_ms: Callable[[], int]) -> None:
        self._read_ms = read_ms
        self._started_at = read_ms()
        self._calls: list[CallRecord] = []
        self._submissions: list[SubmissionRecord] = []
        self._comparisons: list[ComparisonRecord] = []
        self._faults: list[FaultRecord] = []
        self._calm_since: int | None = None

    def start_call(
        self,
        *,
        actor: str,
        tenant: str,
        worker: str,
        kind: str,
        arguments: Mapping[str, PlainValue],
    ) -> CallRecord:
        """Record that a call starts in this context; its `request` is the id for its `Caller`."""
        number = len(self._calls)
        call = CallRecord(
            number=number,
            actor=actor,
            tenant=tenant,
            worker=worker,
            kind=kind,
            arguments=dict(arguments),
            request=f"call-{number}",
            started_at=self._read_ms(),
        )
        self._calls.append(call)
        CURRENT_CALL.set(number)
        return call

    def end_call(self, number: int, outcome: Outcome) -> None:
        """Record what was answered. The first end counts: that of a crash is followed by others."""
        call = self._calls[number]
        if call.outcome is None:
            self._calls[number] = replace(call, ended_at=self._read_ms(), outcome=outcome)

    def crash_worker(self, worker: str) -> None:
        """Record that a worker dies, with each of its calls that is running."""
        for call in self._calls:
            if call.worker == worker:
                self.end_call(call.number, Crashed())
        fault = self.start_fault(FaultKind.WORKER_CRASH, worker)
        self.end_fault(fault)

    def record_submission(  # noqa: PLR0913  # the members of a record
        self,
        *,
        provider: str,
        tenant: str,
        number: str,
        code: str,
        challenge: str,
        send: int,
        ordinal: int,
        is_taken: bool,
        answer: Literal["accepted", "refused", "unknown"] | None = None,
        fault: Literal["recipient", "provider", "unknown"] | None = None,
    ) -> int:
        """Record that a provider is asked, and return an index for `answer_submission`."""
        self._submissions.append(
            SubmissionRecord(
                at=self._read_ms(),
                provider=provider,
                tenant=tenant,
                number=number,
                code=code,
                challenge=challenge,
                send=send,
                ordinal=ordinal,
                is_taken=is_taken,
                answer=answer,
                fault=fault,
                call=CURRENT_CALL.get(),
            )
        )
        return len(self._submissions) - 1

    def answer_submission(
        self,
        index: int,
        answer: Literal["accepted", "refused", "unknown"],
        fault: Literal["recipient", "provider", "unknown"] | None = None,
    ) -> None:
        """Record what the caller of the provider learned."""
        self._submissions[index] = replace(self._submissions[index], answer=answer, fault=fault)

    def record_comparison(
        self, worker: str, code: str, salt: bytes = b"", *, is_right: bool | None = None
    ) -> None:
        """Record that the hasher hashes an entered code, for the call that runs in this context."""
        number = CURRENT_CALL.get()
        arguments = {} if number is None else self._calls[number].arguments
        subject = arguments.get("challenge") or arguments.get("recovery_set") or ""
        self._comparisons.append(
            ComparisonRecord(
                at=self._read_ms(),
                worker=worker,
                call=number,
                subject=str(subject),
                code=code,
                is_right=is_right,
                salt=salt.hex(),
            )
        )

    def start_fault(
        self, kind: FaultKind, target: str = "", *, lost_writes: int = 0, jump_ms: int = 0
    ) -> int:
        """Record that a fault begins, and return an index for `end_fault`."""
        at = self._read_ms()
        self._faults.append(
            FaultRecord(kind=kind, at=at, target=target, lost_writes=lost_writes, jump_ms=jump_ms)
        )
        return len(self._faults) - 1

    def end_fault(self, index: int, *, lost_writes: int = 0) -> None:
        """Record that a fault ends, with so many further lost writes.

        One without a duration ends at once.
        """
        fault = self._faults[index]
        lost_writes += fault.lost_writes
        self._faults[index] = replace(fault, until=self._read_ms(), lost_writes=lost_writes)

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """Return the calls so far."""
        return tuple(self._calls)

    def record_calm(self) -> None:
        """Record that no fault follows."""
        self._calm_since = self._read_ms()

    def build_history(  # noqa: PLR0913  # what was found at the end
        self,
        seed: int | str,
        settings: AuditSettings,
        *,
        events: Sequence[StoredEvent] = (),
        stored: Sequence[StoredBytes] = (),
        budgets: Sequence[StoredBudget] = (),
        unhandled_errors: Sequence[str] = (),
        archive: ArchiveRecord | None = None,
        debts: Sequence[StoredDebt] = (),
    ) -> History:
        """Return all records, with what was found in the store at the end."""
        now = self._read_ms()
        return History(
            seed=str(seed),
            settings=settings,
            calls=tuple(self._calls),
            submissions=tuple(self._submissions),
            comparisons=tuple(self._comparisons),
            faults=tuple(self._faults),
            events=tuple(events),
            stored=tuple(stored),
            budgets=tuple(budgets),
            unhandled_errors=tuple(unhandled_errors),
            archive=archive,
            debts=tuple(debts),
            started_at=self._started_at,
            calm_since=now if self._calm_since is None else self._calm_since,
            ended_at=now,
        )
