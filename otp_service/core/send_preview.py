"""What the next send to a number would get at one tenant: which limits refuse it, and until when.

Pure: the store inspects the commits of a send, and these functions read the result.
"""

from collections.abc import Iterator

import msgspec

from otp_service.core.commit import (
    Blocked,
    ChargeState,
    CommitRefusal,
    DebtState,
    Inspection,
    Locked,
)
from otp_service.core.do_not_send import StoredOptOut
from otp_service.core.errors import NumberNotAllowed, OtpError
from otp_service.core.pumping.admissions import find_first_admission


NEAR_QUOTA_PERCENT = 80
"""The part of a quota from which a limit that still admits a send is worth a line."""


class SendInspections(msgspec.Struct, frozen=True):
    """The commits of a send that were inspected, in the order in which a send commits them."""

    caller: Inspection
    number: Inspection
    shared: Inspection

    def choose_refusal(self) -> CommitRefusal | None:
        """Return the refusal that a caller gets, or None.

        A send stops at the first commit that refuses. But the do-not-send list and a lock of the number
        come before the limits of the caller.
        """
        if isinstance(self.number.refusal, Blocked | Locked):
            return self.number.refusal
        return self.caller.refusal or self.number.refusal or self.shared.refusal

    def list_charges(self) -> Iterator[tuple[int, ChargeState]]:
        """Yield each charge with the instant, in milliseconds, at which it was inspected."""
        for inspection in (self.caller, self.number, self.shared):
            for state in inspection.charges:
                yield inspection.now, state

    def list_debts(self) -> Iterator["DebtPreview"]:
        """Yield each scope of the brake."""
        is_exempt = self.number.is_exempt
        for inspection in (self.number, self.shared):
            for state in inspection.debts:
                is_charged = state.charge.is_always_charged or not is_exempt
                yield DebtPreview(state, inspection.now + state.wait_ms, is_charged)

    def find_debt_wait(self) -> int:
        """Return the milliseconds until the debts admit the send, after all limits; 0 if they do by then.

        A scope that is open now may be full when a limit admits the send, or a scope of the other
        partition. So it is the first instant at which all do.
        """
        waits = (now + (state.wait_ms or 0) for now, state in self.list_charges())
        earliest = max(waits, default=self.shared.now)
        first = find_first_admission(earliest, self.number.admissions, self.shared.admissions)
        return first - self.shared.now if first > earliest else 0


class BucketPreview(msgspec.Struct, frozen=True):
    """One limit of a send."""

    state: ChargeState
    admits_at: int | None
    """The instant in milliseconds from which it admits a send; None until an operator unlocks it."""

    @property
    def refuses(self) -> bool:
        return self.state.wait_ms != 0

    @property
    def is_near_quota(self) -> bool:
        """Whether it admits a send, and a window is used up to NEAR_QUOTA_PERCENT."""
        windows = zip(self.state.used, self.state.charge.windows, strict=True)
        return not self.refuses and any(
            100 * used >= NEAR_QUOTA_PERCENT * window.count for used, window in windows
        )


class DebtPreview(msgspec.Struct, frozen=True):
    """One scope of the brake on SMS pumping."""

    state: DebtState
    admits_at: int
    """The instant in milliseconds from which it admits a send."""
    is_charged: bool = True
    """False if the number is known, and the scope exempts it."""

    @property
    def is_over(self) -> bool:
        """Whether it has no room for the send; in record mode the send is admitted all the same."""
        return self.is_charged and self.state.is_full

    @property
    def refuses(self) -> bool:
        return self.is_over and self.state.charge.refuses

    @property
    def is_near_allowance(self) -> bool:
        """Whether it has room, and a window of it is used up to NEAR_QUOTA_PERCENT."""
        windows = zip(self.state.unverified, self.state.allowance, strict=True)
        return (self.is_charged and not self.is_over) and any(
            100 * unverified >= NEAR_QUOTA_PERCENT * allowance for unverified, allowance in windows
        )


class SendPreview(msgspec.Struct, frozen=True):
    """What the next send to a number would get at one tenant."""

    tenant: str
    error: OtpError | None
    """The refusal; None if the send would be admitted."""
    buckets: tuple[BucketPreview, ...] = ()
    """Of every limit of a send; none if the number is refused whatever is stored about it."""
    opt_outs: tuple[StoredOptOut, ...] = ()
    """Of a number that is opted out: those for all tenants and for this one."""
    debts: tuple[DebtPreview, ...] = ()
    """Of every scope of the brake; none if it is off, or the number is refused whatever is stored."""
    is_known: bool = False
    """Whether the brake exempts the number."""
    debt_wait_ms: int = 0
    """Milliseconds until no scope of the brake refuses; 0 if all admit a send now."""
    is_delivery: bool = False
    """Whether the send would be a delivery, of a code that is checked elsewhere; else it is an issue."""
    inspected_at: int = 0
    """The instant in milliseconds at which the scopes were inspected."""

    @property
    def admits_at(self) -> int | None:
        """The instant in milliseconds from which all limits admit a send, if nothing is sent until then.

        None if no time ends the refusal, and if the send would be admitted now.
        """
        instants = [bucket.admits_at for bucket in self.buckets if bucket.refuses]
        if self.debt_wait_ms:
            instants.append(self.inspected_at + self.debt_wait_ms)
        known = [instant for instant in instants if instant is not None]
        if isinstance(self.error, NumberNotAllowed) or len(known) < len(instants):
            return None
        return max(known, default=None)

    @property
    def wait_ms(self) -> int:
        """The milliseconds until all limits that refuse for a time admit a send; 0 for now."""
        return max([self.debt_wait_ms, *(bucket.state.wait_ms or 0 for bucket in self.buckets)])


def build_preview(
    tenant: str, inspections: SendInspections, opt_outs: tuple[StoredOptOut, ...]
) -> SendPreview:
    """Return the preview of a send whose commits were inspected."""
    refusal = inspections.choose_refusal()
    buckets = tuple(
        BucketPreview(state, None if state.wait_ms is None else now + state.wait_ms)
        for now, state in inspections.list_charges()
    )
    error = refusal.to_error() if refusal else None
    return SendPreview(
        tenant,
        error,
        buckets,
        opt_outs,
        tuple(inspections.list_debts()),
        inspections.number.is_exempt,
        inspections.find_debt_wait(),
        inspected_at=inspections.shared.now,
    )
