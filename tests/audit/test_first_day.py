"""F1: the attack of the first day is found, with nothing the day before, and each finding leads on.

Real Redis, and the use cases, the event log and the reader of the service.
"""

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from otp_service.app.system_events import SystemEvents
from otp_service.audit.query.reader import EventReader
from otp_service.audit.reports.anomalies import describe_baseline, find_anomalies
from otp_service.audit.reports.anomaly import Anomaly
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.stats import StatsCollector
from otp_service.core.errors import ChallengeLocked, IncorrectCode, InvalidRequest
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.event_streams import RedisEventStreams
from otp_service.telemetry import DeniedAccessCounter, Metrics
from tests.installation import HOUR_MS, SECOND_MS, Installation, make_wrong_code
from tests.store import redis_servers


VICTIM, PHISHED, PUMPED_PREFIX = "+447400123456", "+447400223456", "+44740032"
PUMPED_SENDS = 59
LATE = 2**53
"""After the deadline of every challenge."""

HOME, PROXY, GUESSER = "203.0.113.9", "198.51.100.7", "192.0.2.66"


@pytest.fixture
async def first_day(server: EmbeddedServer) -> AsyncIterator["FirstDay"]:
    """A new installation after its first hours."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        day = FirstDay(Installation(link))
        await day.run()
        yield day


class FirstDay:
    """A few logins, and four attacks on the same day."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        store = installation.store
        self.reader = EventReader(
            RedisEventStreams(installation.script_client, store.key_names),
            partitions_of=store.list_number_partitions,
            ring=installation.keys.pseudonym,
            verify_mac=store.cipher.verify_event,
        )

    async def run(self) -> None:
        for i in range(12):
            await self._log_in(f"+447400{40 + i}3456", HOME, HOME)
        await self._guess()
        await self._pump()
        await self._log_in(PHISHED, HOME, PROXY)
        await self._call_with_wrong_keys()

    async def find(self) -> list[Anomaly]:
        """Return what is found, with no event in the day before."""
        today = StatsCollector(LATE)
        async for entry in self.reader.iterate_entries():
            record = build_event_record(self.reader.decode_event(entry))
            assert record is not None
            today.add_event(record)
        return find_anomalies(today.build_overview(), StatsCollector(LATE).build_overview(), "EUR")

    async def search(self, anomaly: Anomaly) -> list[dict[str, Any]]:
        """Return the events that the filters of a finding find."""
        now = int(time.time() * 1000) + self.installation.clock_shift_ms
        period = {"since": now - 2 * HOUR_MS, "until": now + HOUR_MS}
        filters: Any = period | anomaly.criteria.to_filters()
        found, following = await self.reader.read_page(limit=1000, **filters)
        assert following is None
        return found

    async def _log_in(self, number: str, issued_for: str, verified_from: str) -> None:
        issued = await self.installation.issue(number, client_ip=issued_for)
        code = self.installation.router.extract_code()
        await self.installation.verify(issued, code, client_ip=verified_from)

    async def _guess(self) -> None:
        """Guess at two challenges of one number until they are locked."""
        for _ in range(2):
            issued = await self.installation.issue(VICTIM, client_ip=GUESSER)
            code = self.installation.router.extract_code()
            for i in range(6):
                with suppress(IncorrectCode, ChallengeLocked):
                    wrong = make_wrong_code(code, i + 1)
                    await self.installation.verify(issued, wrong, client_ip=GUESSER)
            self.installation.advance_clock(31 * SECOND_MS)

    async def _pump(self) -> None:
        """Send one message less than `SendsPerPrefix` allows; two of the codes come back."""
        for i in range(PUMPED_SENDS):
            issued = await self.installation.issue(f"{PUMPED_PREFIX}{3000 + i}")
            if i < 2:
                await self.installation.verify(issued, self.installation.router.extract_code())

    async def _call_with_wrong_keys(self) -> None:
        """The counts are appended once a minute."""
        counter = DeniedAccessCounter(Metrics("test", tenants={}, providers={}))
        for _ in range(40):
            counter.count_call("unknown")
        counter.count_call("scope")
        key = self.installation.keys.pseudonym.current
        system_events = SystemEvents(self.installation.store, counter, {"config": "test"}, key)
        await system_events.record_denied_access()


async def test_every_attack_of_the_first_day_is_an_alarm(first_day: FirstDay) -> None:
    """Each once. Seen to find nothing where every rule compares with the day before."""
    found = await first_day.find()

    assert {
        "wrong-codes": ("alarm", 10),
        "attempts-exhausted": ("alarm", 2),
        "pumping": ("alarm", PUMPED_SENDS),
        "client-ip-changed": ("alarm", 1),
        "wrong-keys": ("alarm", 41),
    } == {one.kind: (one.weight, one.now) for one in found}
    assert 5 == len(found)
    assert not describe_baseline(StatsCollector(LATE).build_overview()).is_sufficient


async def test_the_filters_of_each_finding_find_exactly_its_events(first_day: FirstDay) -> None:
    """The events are selected here by what the attack did, and not by the filters."""
    all_events = await first_day.installation.read_events()
    pseudonym = first_day.installation.keys.pseudonym.current
    victim = pseudonym.derive_pseudonym("number", VICTIM)
    prefix = pseudonym.derive_pseudonym("prefix", PUMPED_PREFIX)
    expected = {
        "wrong-codes": [e for e in all_events if e["type"] == "otp.rejected"],
        "attempts-exhausted": [e for e in all_events if e["type"] == "otp.locked"],
        "pumping": [e for e in all_events if e.get("prefix") == prefix],
        "client-ip-changed": [
            e for e in all_events if e["type"] == "otp.verified" and e.get("client_ip") == PROXY
        ],
        "wrong-keys": [e for e in all_events if e["type"] == "access.denied"],
    }

    for anomaly in await first_day.find():
        events = await first_day.search(anomaly)

        assert {one["id"] for one in expected[anomaly.kind]} == {one["id"] for one in events}
        assert len(expected[anomaly.kind]) == len(events) > 0
    assert {victim} == {one["number"] for one in expected["wrong-codes"]}
    assert PUMPED_SENDS == len(expected["pumping"])


async def test_from_an_offender_to_its_events_and_back(first_day: FirstDay) -> None:
    """F3: a pseudonym and a client IP are filters, so a list of offenders leads on."""
    pseudonym = first_day.installation.keys.pseudonym.current
    victim = pseudonym.derive_pseudonym("number", VICTIM)

    of_number, _ = await first_day.reader.read_page(limit=1000, pseudonym=victim)
    of_guesser, _ = await first_day.reader.read_page(limit=1000, client_ip=GUESSER)
    of_both, _ = await first_day.reader.read_page(limit=1000, pseudonym=victim, client_ip=HOME)

    ids = {event["id"] for event in of_guesser}
    assert ids == {event["id"] for event in of_number if event.get("client_ip") == GUESSER}
    assert {victim} == {event["number"] for event in of_guesser}
    assert [] == of_both


@pytest.mark.parametrize("address", ["", "203.0.113", "203.0.113.9:80", "2001:db8::/48"])
async def test_an_invalid_client_ip_is_refused(first_day: FirstDay, address: str) -> None:
    """R58: ignoring the filter would return too much, and matching nothing would look clean."""
    with pytest.raises(InvalidRequest) as refusal:
        await first_day.reader.read_page(client_ip=address)

    assert "client_ip" == refusal.value.errors[0][0]
