"""What the next send to a number would get at one tenant: which limits refuse it, and until when.

Pure: the store inspects the commits of a send, and these functions read the result.
"""

from collections.abc import Iterator

import msgspec

from otp_service.core.commit import Blocked, ChargeState, CommitRefusal, Inspection, Locked
from otp_service.core.do_not_send import StoredOptOut
from otp_service.core.errors import NumberNotAllowed, OtpError


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


class SendPreview(msgspec.Struct, frozen=True):
    """What the next send to a number would get at one tenant."""

    tenant: str
    error: OtpError | None
    """The refusal; None if the send would be admitted."""
    buckets: tuple[BucketPreview, ...] = ()
    """Of every limit of a send; none if the number is refused whatever is stored about it."""
    opt_outs: tuple[StoredOptOut, ...] = ()
    """Of a number that is opted out: those for all tenants and for this one."""

    @property
    def admits_at(self) -> int | None:
        """The instant in milliseconds from which all limits admit a send, if nothing is sent until then.

        None if no time ends the refusal, and if the send would be admitted now.
        """
        instants = [bucket.admits_at for bucket in self.buckets if bucket.refuses]
        known = [instant for instant in instants if instant is not None]
        if isinstance(self.error, NumberNotAllowed) or len(known) < len(instants):
            return None
        return max(known, default=None)


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
    return SendPreview(tenant, error, buckets, opt_outs)
