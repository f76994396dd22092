"""What a message with a keyword changes, as a pure function of what is stored about its number."""

from collections.abc import Iterable

import msgspec

from otp_service.core.do_not_send import (
    ALL_TENANTS,
    DoNotSendEntry,
    InboundState,
    StoredOptOut,
)
from otp_service.core.inbound import InboundResult, Keyword


class AnsweredSender(msgspec.Struct, frozen=True):
    """Whose message a person has answered."""

    provider: str
    own_number: str
    """Our number that the person answered; empty if the provider does not say."""
    scope: str
    """The tenant of an opt-out by an answer to it; ALL_TENANTS for all."""
    is_only_tenant: bool = False
    """Whether no other tenant can send, so that an opt-out from all tenants is one from this tenant."""

    def covers(self, tenant: str) -> bool:
        """Whether the opt-outs with this scope are those that an answer ends."""
        return tenant == self.scope or (self.is_only_tenant and tenant == ALL_TENANTS)


class OptOut(msgspec.Struct, frozen=True):
    """Store an opt-out for a tenant, ALL_TENANTS for all."""

    tenant: str


class OptIn(msgspec.Struct, frozen=True):
    """Lift these opt-outs; there is at least one."""

    opt_outs: tuple[StoredOptOut, ...]

    @property
    def tenant(self) -> str:
        """The tenant of all of them; ALL_TENANTS if they are of several, or one is for all."""
        tenants = {opt_out.tenant for opt_out in self.opt_outs}
        return tenants.pop() if len(tenants) == 1 else ALL_TENANTS


class HelpRequest(msgspec.Struct, frozen=True):
    """Record that the person has asked for help with the messages of a tenant, or of all."""

    tenant: str


class NoChange(msgspec.Struct, frozen=True):
    """Write nothing."""

    result: InboundResult


InboundDecision = OptOut | OptIn | HelpRequest | NoChange


def decide_inbound(
    keyword: Keyword, sender: AnsweredSender, state: InboundState
) -> InboundDecision:
    """Return what a keyword changes.

    A repeat changes nothing, and neither does a keyword of a number to which the provider has
    submitted nothing: the sender of an SMS can be forged, also through a signed callback.
    """
    if state.is_repeated:
        return NoChange(InboundResult.UNCHANGED)
    if not state.is_expected:
        return NoChange(InboundResult.UNEXPECTED)
    match keyword:
        case Keyword.STOP:
            is_stored = any(opt_out.tenant == sender.scope for opt_out in state.opt_outs)
            return NoChange(InboundResult.UNCHANGED) if is_stored else OptOut(sender.scope)
        case Keyword.START:
            lifted = tuple(_select_lifted(state.opt_outs, sender))
            return OptIn(lifted) if lifted else NoChange(InboundResult.UNCHANGED)
        case Keyword.HELP:
            return HelpRequest(sender.scope)


def _select_lifted(
    opt_outs: Iterable[StoredOptOut], sender: AnsweredSender
) -> Iterable[StoredOptOut]:
    """Return the opt-outs with the scope of a START, and those that came the way that it came.

    The scope of a number changes with the settings: a second tenant, or a sender of its own. An import
    is from all tenants if its line names none.
    """
    return (
        opt_out
        for opt_out in opt_outs
        if sender.covers(opt_out.tenant) or _came_through(opt_out, sender)
    )


def _came_through(opt_out: StoredOptOut, sender: AnsweredSender) -> bool:
    entry, came_by = opt_out.entry, (sender.provider, sender.own_number)
    return isinstance(entry, DoNotSendEntry) and (entry.provider, entry.own_number) == came_by
