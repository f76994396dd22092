"""A flood of STOP is found, and leads to its events; a search by number finds what a person answered.

Real Redis, and the use cases, the event log and the reader of the service.
"""

from collections.abc import AsyncIterator

import pytest

from otp_service.audit.event_decoder import DecodedEvent
from otp_service.core.inbound import InboundResult
from otp_service.core.phone_number import parse_number
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.audit.test_first_day import FirstDay
from tests.installation import Installation
from tests.service.test_inbound import SHARED_OWN, SHOP_OWN, Phone
from tests.store import redis_servers


VICTIMS = [f"+447400{40 + n}3456" for n in range(20)]


@pytest.fixture
async def day(server: EmbeddedServer) -> AsyncIterator[FirstDay]:
    """A new installation without an event."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        yield FirstDay(Installation(link))


async def search_number(day: FirstDay, number: str) -> list[DecodedEvent]:
    """Return the events of a number, newest first."""
    entries = day.reader.iterate_entries(number=parse_number(number))
    return [day.reader.decode_event(entry) async for entry in entries]


async def test_a_flood_of_stop_is_an_alarm_that_leads_to_its_events(day: FirstDay) -> None:
    """F1: of a provider, on the first day."""
    for number in VICTIMS:
        phone = Phone(day.installation, number)
        await phone.receive_code()
        assert InboundResult.OPTED_OUT == await phone.answer("STOP")

    (found,) = [one for one in await day.find() if one.kind == "opt-outs"]

    assert ("alarm", "p1", 20) == (found.weight, found.name, found.now)
    events = await day.search(found)
    assert [("number.opted_out", "p1")] * 20 == [(e["type"], e["provider"]) for e in events]


@pytest.mark.parametrize("own_number", [SHOP_OWN, SHARED_OWN])
async def test_a_search_by_number_finds_what_a_person_answered_and_what_it_refused(
    day: FirstDay, own_number: str
) -> None:
    """R58: also where the opt-out is from all tenants, and without the events of another number."""
    phone, other = Phone(day.installation, VICTIMS[0]), Phone(day.installation, VICTIMS[1])
    for one in (phone, other):
        await one.receive_code()
        assert InboundResult.OPTED_OUT == await one.answer("STOP", own_number)
    assert "opted_out" == await phone.find_refusal("shop")
    assert InboundResult.HELP == await phone.answer("HELP", own_number)
    assert InboundResult.OPTED_IN == await phone.answer("START", own_number)

    events = [found.to_public() for found in await search_number(day, VICTIMS[0])]

    answers = [
        e for e in events if e["type"].startswith("number.") or e.get("reason") == "opted_out"
    ]
    assert [
        "number.opted_in",
        "number.help_requested",
        "otp.issue_denied",
        "number.opted_out",
    ] == [e["type"] for e in answers]
    assert {"56"} == {e["number_suffix"] for e in answers}
    assert 1 == len({e["number"] for e in events})
