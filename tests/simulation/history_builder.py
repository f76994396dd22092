"""Small histories by hand, for the tests of the auditor and the timeline.

Each step adds a call that is answered as the service answers it, with its messages, comparisons and
events. A test breaks a promise by a step that the service would not take, or by `edit_call` and its like.
Times are in milliseconds; `now` moves with each call.
"""

# ruff: noqa: PLR0913, S107  # a step has many members, and the tokens of these histories open nothing

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tests.simulation.auditor import Violation, audit_history
from tests.simulation.auditor.authenticator_steps import compute_code
from tests.simulation.history import (
    Answered,
    ArchiveRecord,
    AuditSettings,
    CallRecord,
    ComparisonRecord,
    FaultKind,
    FaultRecord,
    History,
    Outcome,
    Refused,
    StoredBudget,
    StoredBytes,
    StoredEvent,
    SubmissionRecord,
    TenantRules,
)


START_MS = 1_796_000_000_000
NUMBER, OTHER_NUMBER = "+447400123456", "+447400987654"
CODE, WRONG_CODE = "4711000001", "4711999999"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SECRET_BYTES = b"12345678901234567890"

Limits = Mapping[str, tuple[tuple[int, int], ...]]
DEFAULT_LIMITS: Limits = {
    "CooldownPerNumber": ((1, 30),),
    "SendsPerNumberAndTenant": ((5, 600), (10, 86_400)),
    "SendsPerNumber": ((8, 600), (20, 86_400)),
    "FailuresPerNumber": ((10, 3_600),),
    "FailuresPerAccount": ((10, 3_600),),
    "AuthenticatorFailuresPerAccount": ((5, 600), (20, 86_400)),
    "RecoveryFailuresPerAccount": ((5, 3_600), (20, 86_400)),
    "RecoverySetsPerAccount": ((5, 86_400),),
    "SendsPerAccount": ((10, 3_600),),
    "FailuresPerTenant": ((1_000, 3_600),),
}


class HistoryBuilder:
    """A history so far."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, **settings: Any) -> None:
        tenants = {name: TenantRules(limits=limits) for name in ("shop", "bank")}
        self.settings = AuditSettings(tenants=tenants, code_digits=10, **settings)
        self.now = START_MS
        self.calls: list[CallRecord] = []
        self.submissions: list[SubmissionRecord] = []
        self.comparisons: list[ComparisonRecord] = []
        self.faults: list[FaultRecord] = []
        self.events: list[StoredEvent] = []
        self.stored: list[StoredBytes] = []
        self.budgets: list[StoredBudget] = []
        self.unhandled_errors: list[str] = []
        self.archive: ArchiveRecord | None = None
        self.calm_since: int | None = None
        self.epoch = START_MS
        self.add_event("log.epoch")

    def wait(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now += milliseconds

    def call(
        self,
        kind: str,
        outcome: Outcome | None,
        *,
        at: int | None = None,
        ms: int = 100,
        actor: str = "login",
        tenant: str = "shop",
        worker: str = "a1",
        **arguments: Any,
    ) -> CallRecord:
        """Add a call of `ms` milliseconds, from now or from another instant on; None never ends."""
        number, start = len(self.calls), self.now if at is None else at
        given = {name: value for name, value in arguments.items() if value is not None}
        record = CallRecord(
            number=number,
            actor=actor,
            tenant=tenant,
            worker=worker,
            kind=kind,
            arguments=given,
            request=f"call-{number}",
            started_at=start,
            ended_at=None if outcome is None else start + ms,
            outcome=outcome,
        )
        self.calls.append(record)
        self.now = max(self.now, start + ms + 1)
        return record

    def issue(
        self,
        code: str = CODE,
        *,
        number: str = NUMBER,
        challenge: str | None = None,
        answer: str = "accepted",
        kind: str = "issue",
        outcome: Outcome | None = None,
        **arguments: Any,
    ) -> str:
        """Add an issue (or a delivery) that sends a message, and return the id of its challenge."""
        letter = "d" if kind == "deliver" else "c"
        challenge = challenge or f"{letter}07-{len(self.calls):032x}"
        start = arguments.get("at", self.now)
        value = {"id": challenge, "status": "pending", "expires_at": start + 50 + 300_000}
        call = self.call(
            kind, outcome or Answered(value), phone_number=number, account="u-1", **arguments
        )
        self.add_event("otp.issued" if kind == "issue" else "delivery.created", call, challenge)
        self.send(call, challenge, code, number=number, answer=answer)
        return challenge

    def resend(self, challenge: str, code: str, send: int = 2, **arguments: Any) -> CallRecord:
        """Add a resend with its message."""
        value = {"id": challenge, "status": "pending"}
        call = self.call("resend", Answered(value), challenge=challenge, **arguments)
        self.add_event("otp.resent", call, challenge)
        self.send(call, challenge, code, send=send)
        return call

    def send(
        self,
        call: CallRecord,
        challenge: str,
        code: str,
        *,
        number: str = NUMBER,
        send: int = 1,
        ordinal: int = 1,
        answer: Any = "accepted",
        fault: Any = None,
        at: int | None = None,
    ) -> None:
        """Add a message of a call, with its event."""
        self.submissions.append(
            SubmissionRecord(
                at=call.started_at + 50 if at is None else at,
                provider="fast",
                tenant=call.tenant or "shop",
                number=number,
                code=code,
                challenge=challenge,
                send=send,
                ordinal=ordinal,
                is_taken=answer != "refused",
                answer=answer,
                fault=fault,
                call=call.number,
            )
        )
        prefix = "delivery" if call.kind == "deliver" else "otp"
        kind = "provider_failed" if answer == "refused" else "sent"
        self.add_event(f"{prefix}.{kind}", call, challenge)

    def verify(
        self, challenge: str, code: str = CODE, *, outcome: Outcome | None = None, **arguments: Any
    ) -> CallRecord:
        """Add a verify that compares the code; a wrong one is refused."""
        is_right = any(s.challenge == challenge and s.code == code for s in self.submissions)
        if outcome is None and is_right:
            outcome = Answered({"id": challenge, "status": "verified"})
        outcome = outcome or Refused("incorrect-code")
        arguments = {"account": "u-1", **arguments}
        call = self.call("verify", outcome, challenge=challenge, code=code, **arguments)
        self.compare(call, challenge, code)
        self.add_event("otp.attempted", call, challenge)
        accepted = isinstance(outcome, Answered)
        self.add_event("otp.verified" if accepted else "otp.rejected", call, challenge)
        return call

    def repeat(self, number: int, **arguments: Any) -> CallRecord:
        """Add a repeat of an answered call, which does nothing but answer the same."""
        first = self.calls[number]
        call = self.call(first.kind, first.outcome, **{**first.arguments, **arguments})
        kinds = {"verify": "otp.verified", "verify_authenticator": "authenticator.verified"}
        if first.kind in kinds:
            challenge = str(first.arguments.get("challenge", "")) or None
            self.add_event(kinds[first.kind], call, challenge, repeated=True)
        return call

    def compare(self, call: CallRecord, subject: str, code: str, salt: str = "") -> None:
        """Add a comparison of a call."""
        self.comparisons.append(
            ComparisonRecord(
                at=call.started_at + 50,
                worker=call.worker,
                call=call.number,
                subject=subject,
                code=code,
                salt=salt or hashlib.sha256(subject.encode()).hexdigest(),
            )
        )

    def refuse(
        self, kind: str, reason: str, *, is_recorded: bool = True, **values: Any
    ) -> CallRecord:
        """Add a call that is refused before anything is compared or sent, with its event."""
        outcome = Refused(
            reason,
            retry_after=values.pop("retry_after", None),
            limit=values.pop("limit", None),
            details=values.pop("details", {}),
        )
        call = self.call(kind, outcome, **values)
        denial = {"issue": "otp.issue_denied", "verify": "otp.verify_denied"}.get(kind)
        if denial and is_recorded:
            self.add_event(denial, call, values.get("challenge"), reason=reason.replace("-", "_"))
        return call

    def confirm(self, *, step: int = 0, account: str = "u-1", token: str = "a1.new") -> str:
        """Add an authenticator that is created and confirmed, and return its active token."""
        value: dict[str, Any] = {"authenticator": token, "secret": SECRET}
        self.call("create_authenticator", Answered(value), account=account)
        active = token.replace("new", "active")
        self.verify_app(token, step=step, returned=active, kind="confirm_authenticator")
        return active

    def verify_app(
        self,
        token: str,
        *,
        step: int = 0,
        returned: str | None = None,
        kind: str = "verify_authenticator",
        outcome: Outcome | None = None,
        code: str | None = None,
        **arguments: Any,
    ) -> CallRecord:
        """Add a code of an app, `step` periods from now on; it is accepted."""
        start = arguments.get("at", self.now)
        arguments = {"account": "u-1", **arguments}
        call = self.call(
            kind,
            outcome or Answered({"authenticator": returned or token}),
            authenticator=token,
            code=code or compute_code(SECRET_BYTES, start // 30_000 + step),
            **arguments,
        )
        self.add_event("authenticator.attempted", call)
        if isinstance(call.outcome, Answered):
            accepted = "confirmed" if kind == "confirm_authenticator" else "verified"
            self.add_event(f"authenticator.{accepted}", call)
        elif isinstance(call.outcome, Refused):
            is_used = call.outcome.reason == "code-already-used"
            self.add_event(f"authenticator.{'replayed' if is_used else 'rejected'}", call)
        return call

    def create_recovery_set(self, token: str = "r1.new") -> list[str]:
        """Add a recovery set, and return its codes."""
        codes = [f"ABCD-EFGH-JKMN-PQR{number}" for number in range(10)]
        outcome = Answered({"recovery_set": token, "codes": codes})
        self.add_event(
            "recovery.created", self.call("create_recovery_codes", outcome, account="u-1")
        )
        return codes

    def use_recovery_code(
        self,
        token: str,
        code: str,
        *,
        returned: str = "r1.next",
        left: int = 9,
        outcome: Outcome | None = None,
        **arguments: Any,
    ) -> CallRecord:
        """Add a recovery code that is accepted."""
        outcome = outcome or Answered({"recovery_set": returned, "codes_left": left})
        arguments = {"account": "u-1", **arguments}
        call = self.call(
            "verify_recovery_code", outcome, recovery_set=token, code=code, **arguments
        )
        self.add_event("recovery.attempted", call)
        is_used = isinstance(call.outcome, Answered)
        self.add_event("recovery.used" if is_used else "recovery.rejected", call)
        return call

    def add_event(
        self,
        kind: str,
        call: CallRecord | None = None,
        challenge: str | None = None,
        **members: Any,
    ) -> None:
        """Append an event to the log of one partition: during its call, or now."""
        at = self.now if call is None else call.started_at + 60
        named: dict[str, Any] = {"type": kind, "id": f"event-{len(self.events)}"}
        if call is not None:
            named |= {"request": call.request, "tenant": call.tenant or None}
        if challenge is not None:
            named["challenge"] = challenge
        self.events.append(
            StoredEvent(
                partition=7,
                at=max(at, self.events[-1].at) if self.events else at,
                sequence=1 + sum(event.epoch == self.epoch for event in self.events),
                epoch=self.epoch,
                members=named | members,
            )
        )

    def add_fault(
        self, kind: FaultKind, *, ms: int | None = 0, at: int | None = None, **members: Any
    ) -> None:
        """Add a fault from now on; of a new server, with the epoch that it begins.

        A clock that is set for no time stays as it is.
        """
        start = self.now if at is None else at
        is_lasting = ms is None or (kind is FaultKind.STORE_CLOCK and ms == 0)
        until = None if is_lasting else start + (ms or 0)
        self.faults.append(FaultRecord(kind=kind, at=start, until=until, **members))
        if kind in {FaultKind.STORE_FAILOVER, FaultKind.STORE_RESTART, FaultKind.STORE_REPLACED}:
            self.epoch = start
            self.add_event("log.epoch")

    def add_budget(self, limit: str, *subject: str, used: tuple[int, ...]) -> None:
        """Add what the store says now of a budget, once refunds are due."""
        self.wait(10_000)
        self.budgets.append(
            StoredBudget(
                limit=limit, subject=subject, used=used, asked_at=self.now, read_at=self.now
            )
        )

    def edit_call(self, number: int, **members: Any) -> None:
        """Replace members of a call."""
        self.calls[number] = replace(self.calls[number], **members)

    def edit_event(self, index: int, **members: Any) -> None:
        """Replace members of a stored event."""
        self.events[index] = replace(self.events[index], **members)

    def build(self) -> History:
        """Return the history."""
        return History(
            seed="by hand",
            settings=self.settings,
            calls=tuple(self.calls),
            submissions=tuple(self.submissions),
            comparisons=tuple(self.comparisons),
            faults=tuple(self.faults),
            events=tuple(self.events),
            stored=tuple(self.stored),
            budgets=tuple(self.budgets),
            unhandled_errors=tuple(self.unhandled_errors),
            archive=self.archive,
            started_at=START_MS,
            calm_since=self.now if self.calm_since is None else self.calm_since,
            ended_at=self.now,
        )

    def audit(self) -> list[Violation]:
        """Return what the auditor finds."""
        return audit_history(self.build())

    def list_rules(self) -> list[str]:
        """Return the rules that are broken, in the order of time."""
        return [violation.rule for violation in self.audit()]
