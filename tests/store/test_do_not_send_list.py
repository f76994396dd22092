"""The do-not-send list: what opts out and in, and what a message from a phone is decided on."""

import os
from collections.abc import Sequence
from typing import Any

import pytest

from otp_service.core.do_not_send import (
    ALL_TENANTS,
    DoNotSendEntry,
    InboundState,
    ReceivedMessage,
)
from otp_service.core.errors import NumberNotAllowed
from otp_service.core.events import BlocklistChanged
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.store.client import ScriptClient
from otp_service.store.number_admin import NumberAdmin
from tests.installation import Installation


PHONE = parse_number("+447400123456")
OTHER_PHONE = parse_number("+447400123457")
PROVIDER = "twilio"
TENANTS = ("shop", "bank")
ENTRY = DoNotSendEntry(PHONE.e164, 1_700_000_000_000, PROVIDER, "+447400999999")


class Phone:
    """A person who answers, with the list that the answers change."""

    def __init__(self, installation: Installation, phone: PhoneNumber = PHONE) -> None:
        self.installation = installation
        self.phone = phone
        self.list = NumberAdmin(installation.store, installation.keys.pseudonym)

    async def read_state(self, message_id: str = "", provider: str = PROVIDER) -> InboundState:
        return await self.list.read_inbound_state(self.phone, provider, message_id, tenants=TENANTS)

    async def send_stop(self, tenant: str = ALL_TENANTS, message_id: str = "") -> bool:
        state = await self.read_state()
        return await self.list.opt_out(
            self.phone, tenant, ENTRY, **build_change("opted_out", state, message_id)
        )

    async def send_start(self, tenant: str = ALL_TENANTS, message_id: str = "") -> bool:
        state = await self.read_state()
        opt_outs = [one for one in state.opt_outs if one.tenant == tenant]
        return await self.list.opt_in(
            self.phone, opt_outs, **build_change("opted_in", state, message_id)
        )

    async def block(self) -> None:
        await self.list.block_number(self.phone, build_event("blocked"), create_id())

    async def unblock(self) -> None:
        event = build_event("unblocked")
        await self.list.unblock_number(self.phone, event, create_id(), tenants=TENANTS)

    async def find_refusal(self, tenant: str = "shop") -> str | None:
        """Return the reason for which an issue is refused."""
        self.installation.advance_clock(60_000)
        try:
            await self.installation.issue(self.phone.e164, tenant=tenant)
        except NumberNotAllowed as refusal:
            return refusal.reason_code
        return None

    async def find_refusals(self) -> list[str | None]:
        return [await self.find_refusal(tenant) for tenant in TENANTS]

    async def list_changes(self) -> list[str]:
        """Return the reasons of the events of changes, in order."""
        events = await self.installation.read_events()
        return [event["reason"] for event in events if event["type"] == "otp.blocklist"]


def create_id() -> str:
    return os.urandom(16).hex()


def build_event(reason: str) -> BlocklistChanged:
    return BlocklistChanged(id=create_id(), reason=reason)


def build_change(reason: str, state: InboundState, message_id: str = "") -> dict[str, Any]:
    return {
        "message": ReceivedMessage(PROVIDER, message_id, state.now),
        "event": build_event(reason),
        "operation_id": create_id(),
    }


@pytest.fixture
def person(script_client: ScriptClient) -> Phone:
    return Phone(Installation(script_client))


def list_tenants(state: InboundState) -> Sequence[str]:
    return [one.tenant for one in state.opt_outs]


async def test_an_opt_out_of_a_tenant_does_not_refuse_another(person: Phone) -> None:
    """The person answered one tenant's sender."""
    assert await person.send_stop("shop")

    assert ["opted_out", None] == await person.find_refusals()
    assert ["shop"] == list_tenants(await person.read_state())


async def test_an_opt_out_of_all_tenants_refuses_each(person: Phone) -> None:
    """Nothing shows which tenant the person meant."""
    assert await person.send_stop(ALL_TENANTS)

    assert ["opted_out", "opted_out"] == await person.find_refusals()


async def test_a_start_lifts_an_opt_out_and_never_a_block(person: Phone) -> None:
    """An operator's block is lifted by an operator alone."""
    await person.block()
    await person.send_stop("shop")

    assert await person.send_start("shop")

    assert ["blocked", "blocked"] == await person.find_refusals()
    await person.unblock()
    assert [None, None] == await person.find_refusals()


async def test_unblock_lifts_the_block_and_every_opt_out(person: Phone) -> None:
    """An operator ends whatever refuses the number."""
    await person.block()
    for tenant in (ALL_TENANTS, *TENANTS):
        await person.send_stop(tenant)

    await person.unblock()

    assert [None, None] == await person.find_refusals()
    assert () == (await person.read_state()).opt_outs
