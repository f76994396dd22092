"""A person with a phone, for tests of the list that answers change."""

import os
from typing import Any

from otp_service.core.do_not_send import (
    ALL_TENANTS,
    DoNotSendEntry,
    DoNotSendReason,
    InboundState,
    ReceivedMessage,
)
from otp_service.core.errors import NumberNotAllowed
from otp_service.core.events import (
    BlocklistChanged,
    Event,
    HelpRequested,
    NumberErased,
    NumberOptedIn,
    NumberOptedOut,
)
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.ports import ErasedCounts
from otp_service.store.number_admin import NumberAdmin
from tests.installation import MINUTE_MS, Installation


PHONE = parse_number("+447400123456")
PROVIDER = "p1"
"""The first provider of `FakeRouter`."""
OWN_NUMBER = "447400999999"
CHANGES = {
    "number.opted_out": "opted out",
    "number.opted_in": "opted in",
    "number.help_requested": "help",
}


class TextingPerson:
    """Answers with STOP, START and HELP, which are decided on as simply as possible.

    A STOP opts out of one tenant or all; a START lifts every opt-out of the same scope. Each call reads
    the state anew, and returns whether it made a change.
    """

    def __init__(self, installation: Installation, phone: PhoneNumber = PHONE) -> None:
        self.installation = installation
        self.phone = phone
        self.registry = NumberAdmin(installation.store, installation.keys.pseudonym)

    async def read_state(self, message_id: str = "", provider: str = PROVIDER) -> InboundState:
        return await self.registry.read_inbound_state(
            self.phone, provider, message_id, tenants=self.installation.tenants
        )

    async def send_stop(self, tenant: str = ALL_TENANTS, message_id: str = "") -> bool:
        state = await self.read_state(message_id)
        if state.is_repeated or any(one.tenant == tenant for one in state.opt_outs):
            return False
        return await self.opt_out(state, tenant, message_id)

    async def opt_out(
        self, state: InboundState, tenant: str = ALL_TENANTS, message_id: str = ""
    ) -> bool:
        """Store an opt-out that was decided on a state, which may be an earlier one."""
        entry = DoNotSendEntry(self.phone.e164, state.now, PROVIDER, OWN_NUMBER)
        change = self._build_change(NumberOptedOut(id=create_id()), state, message_id)
        return await self.registry.opt_out(self.phone, tenant, entry, **change)

    async def send_start(self, tenant: str = ALL_TENANTS, message_id: str = "") -> bool:
        state = await self.read_state(message_id)
        if state.is_repeated or all(one.tenant != tenant for one in state.opt_outs):
            return False
        return await self.opt_in(state, tenant, message_id)

    async def opt_in(
        self, state: InboundState, tenant: str = ALL_TENANTS, message_id: str = ""
    ) -> bool:
        """Lift the opt-outs of a state, which may be an earlier one."""
        opt_outs = [one for one in state.opt_outs if one.tenant == tenant]
        change = self._build_change(NumberOptedIn(id=create_id()), state, message_id)
        return await self.registry.opt_in(self.phone, opt_outs, **change)

    async def send_help(self, message_id: str = "") -> bool:
        state = await self.read_state(message_id)
        if state.is_repeated:
            return False
        change = self._build_change(HelpRequested(id=create_id()), state, message_id)
        return await self.registry.record_help(self.phone, **change)

    async def block(self, at: int | None = None) -> None:
        event = BlocklistChanged(id=create_id(), reason="blocked")
        await self.registry.block_number(self.phone, event, create_id(), at=at)

    async def unblock(self) -> None:
        event = BlocklistChanged(id=create_id(), reason="unblocked")
        tenants = self.installation.tenants
        await self.registry.unblock_number(self.phone, event, create_id(), tenants=tenants)

    async def forget(self) -> ErasedCounts:
        event, tenants = NumberErased(id=create_id()), self.installation.tenants
        return await self.registry.erase_number(self.phone, event, create_id(), tenants=tenants)

    async def find_refusals(self) -> list[str | None]:
        """Return the reason for which each tenant's issue is refused; None for one that is sent."""
        return [await self._find_refusal(tenant) for tenant in self.installation.tenants]

    async def _find_refusal(self, tenant: str) -> str | None:
        self.installation.advance_clock(3 * MINUTE_MS)  # after the cooldown
        try:
            await self.installation.issue(self.phone.e164, tenant=tenant)
        except NumberNotAllowed as refusal:
            return refusal.reason_code
        return None

    async def list_entries(self) -> list[tuple[str, str, str]]:
        """Return kind, tenant and masked number of everything on the list, of all numbers."""
        return [
            (reason.value, one.tenant, one.entry.masked)
            for reason in DoNotSendReason
            for one in await self.registry.list_entries(reason)
        ]

    async def list_changes(self) -> list[str]:
        """Return what events say that answers have changed, in order, of all numbers."""
        return [
            CHANGES[event["type"]]
            for event in await self.installation.read_events()
            if event["type"] in CHANGES
        ]

    @staticmethod
    def _build_change(event: Event, state: InboundState, message_id: str) -> dict[str, Any]:
        return {
            "message": ReceivedMessage(PROVIDER, message_id, state.now, state.processed),
            "event": event,
            "operation_id": create_id(),
        }


def create_id() -> str:
    return os.urandom(16).hex()
