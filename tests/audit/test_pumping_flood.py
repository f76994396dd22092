"""Messages to one range that nobody verifies: what the brake refused or would have leads to its events.

Real Redis, and the use cases, the event log and the reader of the service.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from otp_service.audit.reports.anomaly import Anomaly
from otp_service.core.errors import DebtLimited
from otp_service.core.pumping.scopes import MESSAGE_UNITS, BrakeMode
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.audit.test_first_day import FirstDay
from tests.installation import Installation
from tests.service.brake_books import PRICE, start_brake
from tests.store import redis_servers


ROOM, SENDS = 3, 14


@pytest.fixture
async def installation(server: EmbeddedServer) -> AsyncIterator[Installation]:
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        yield Installation(link)


async def pump(installation: Installation, mode: BrakeMode) -> tuple[FirstDay, Anomaly]:
    """Return the finding after messages to one range that has room for ROOM of them."""
    started = start_brake(installation, mode, floors={"range_sends": (ROOM, ROOM)})
    for n in range(SENDS):
        with suppress(DebtLimited):
            await started.issue(f"+4474001{23400 + n}")
    day = FirstDay(started)
    (found,) = [one for one in await day.find() if one.name == "UnverifiedPerRange"]
    return day, found


async def search(day: FirstDay, found: Anomaly) -> list[dict[str, Any]]:
    filters: Any = found.criteria.to_filters()
    events, _ = await day.reader.read_page(limit=1000, **filters)
    return events


async def test_refusals_lead_to_events_with_their_range_and_figures(
    installation: Installation,
) -> None:
    day, found = await pump(installation, BrakeMode.REFUSE)

    assert ("brake-refusals", SENDS - ROOM) == (found.kind, found.now)
    assert f"their price is {(SENDS - ROOM) * PRICE / 1_000_000:.2f} EUR." in found.sentence
    events = await search(day, found)
    assert [("otp.issue_denied", PRICE, *[ROOM * MESSAGE_UNITS] * 2)] * (SENDS - ROOM) == [
        (one["type"], one["price"], one["unverified"], one["allowance"]) for one in events
    ]
    (prefix,) = {one["prefix"] for one in events}
    sent, _ = await day.reader.read_page(limit=1000, type="otp.issued", pseudonym=prefix)
    assert ROOM == len(sent)


async def test_what_record_mode_would_refuse_leads_to_the_messages(
    installation: Installation,
) -> None:
    day, found = await pump(installation, BrakeMode.RECORD)

    assert ("would-refuse", "alarm", SENDS - ROOM) == (found.kind, found.weight, found.now)
    events = await search(day, found)
    assert [("otp.issued", "UnverifiedPerRange", ROOM * MESSAGE_UNITS)] * (SENDS - ROOM) == [
        (one["type"], one["over_limit"], one["unverified"]) for one in events
    ]
