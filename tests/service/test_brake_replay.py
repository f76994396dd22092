"""A replay of what the service has recorded predicts what it refuses, on the same calls."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.audit.archive_format.entries import encode_entry
from otp_service.audit.reports.pumping_log import PumpingLog
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.errors import DebtLimited, DeliveryFailed
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.policy import Policy
from otp_service.core.pumping.memory_brake import BrakeFormula
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.replay import Replay
from otp_service.core.pumping.replay_result import ReplayPeriod
from otp_service.core.pumping.replayed_formula import ReplayedFormula
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import MINUTE_MS, PROVIDER_REFUSAL, Installation
from tests.service.brake_books import PRICE, WIDE_FLOORS, drain, start_brake


FLOORS: dict[str, Any] = {
    "range_sends": (2, 3),
    "block_sends": (4, 8),
    "address_sends": (2, 5),
    "country_money": (6 * PRICE, 12 * PRICE),
}
NEVER_STRAINED = (1000.0, 1000.0)
"""No worker runs in these tests."""
STEPS = 110
MAX_RESENDS = 3

Step = tuple[str, int, int, int]
"""What is done, the range and the index of a number, and the index of an address."""


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """Return a client of the newest Redis."""
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as client:
        yield client


def draw_steps(seed: int) -> list[Step]:
    """Return calls of twelve numbers of six ranges in two blocks, through four addresses."""
    rng = random.Random(seed)  # noqa: S311  # a test
    kinds = ("issue", "issue", "issue", "resend", "verify", "verify", "fail", "wait")
    return [
        (rng.choice(kinds), rng.randrange(6), rng.randrange(2), rng.randrange(4))
        for _ in range(STEPS)
    ]


class Caller:
    """Makes the calls of a login back end. What was refused is issued again instead of sent again."""

    def __init__(self, shop: Installation) -> None:
        self.shop = shop
        self._pending: dict[str, tuple[ChallengeSnapshot, str]] = {}
        """The newest challenge of a number, with its newest code."""
        self._resends: Counter[str] = Counter()
        self._addresses: dict[str, str] = {}

    async def make_call(self, step: Step) -> None:
        kind, range_index, index, address = step
        number = f"+447400{1 + range_index // 3}{range_index % 3}{1000 + index}"
        self.shop.advance_clock(2 * MINUTE_MS)
        match kind:
            case "wait":
                self.shop.advance_clock(25 * MINUTE_MS)
                self._pending.clear()
                self._resends.clear()
            case "verify":
                await self._verify(number)
            case "resend" if 0 < self._resends[number] < MAX_RESENDS:
                await self._send(number, self._pending.get(number))
            case "issue" | "fail":
                self._pending.pop(number, None)
                self._resends[number] = 1
                if kind == "fail":
                    self.shop.router.queue_replies(PROVIDER_REFUSAL)
                self._addresses[number] = f"203.0.113.{address}"
                await self._send(number, None)
                self.shop.router.queued_replies.clear()
            case _:
                """There is no challenge of this number to send again."""

    async def _verify(self, number: str) -> None:
        self._resends.pop(number, None)
        if challenge := self._pending.pop(number, None):
            await self.shop.verify(*challenge)
            await drain(self.shop)

    async def _send(self, number: str, pending: tuple[ChallengeSnapshot, str] | None) -> None:
        self._resends[number] += 1
        with suppress(DebtLimited, DeliveryFailed):
            if pending:
                challenge = await self.shop.resend(pending[0])
            else:
                challenge = await self.shop.issue(number, client_ip=self._addresses[number])
            self._pending[number] = challenge, self.shop.router.extract_code()


async def run_steps(client: ScriptClient, steps: list[Step], mode: BrakeMode) -> Installation:
    """Return an installation on an empty Redis after these calls."""
    for master in await client.list_masters():
        await client.read_from(master, "FLUSHALL")
    # Codes are valid for hours, so that the time of an issue that is made again changes nothing.
    policy = Policy(lifetime=12 * 3600)
    shop = start_brake(Installation(client), mode, floors=FLOORS, policy=policy)
    caller = Caller(shop)
    for step in steps:
        await caller.make_call(step)
    await drain(shop)
    return shop


async def read_lines(shop: Installation) -> list[bytes]:
    """Return the lines of an archive of all events, in their order."""
    entries = []
    for partition in range(64):
        for name in shop.store.key_names.event_log_keys(partition)[1:3]:
            command = ("XRANGE", name, "-", "+")
            (rows,) = await shop.script_client.run_pipeline(name, [command])
            for position, flat in rows:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                at, sequence = map(int, position.decode().split("-"))
                entries.append(
                    Entry(
                        partition=partition,
                        position=StreamPosition(at, sequence),
                        epoch=int(fields[b"epoch"]),
                        event=fields[b"event"],
                        mac=fields[b"mac"].decode(),
                        stamp=fields[b"stamp"],
                    )
                )
    entries.sort(key=lambda entry: entry.position)
    return [encode_entry(entry, has_valid_mac=True) + b"\n" for entry in entries]


async def replay_events(shop: Installation) -> Replay:
    settings = BrakeSettings(
        10**12, floors=replace(WIDE_FLOORS, **FLOORS), strained_parts=NEVER_STRAINED
    )
    prices = PriceTable()
    run = ReplayedFormula(BrakeFormula(settings), prices.find_price, 0)
    replay = Replay({"same": run}, ReplayPeriod(0, 2**62), prices)
    log = PumpingLog(replay.event_types)
    for event in log.iterate_events(await read_lines(shop), 0, 2**62):
        replay.add_event(event)
    replay.finish()
    return replay


@pytest.mark.parametrize("seed", [0, 2, 8])
async def test_a_replay_of_record_mode_predicts_what_refuse_mode_refuses(
    client: ScriptClient, seed: int
) -> None:
    """R29: by each limit, with what persons verify, ask for again, and what no provider takes."""
    steps = draw_steps(seed)
    recorded = await run_steps(client, steps, BrakeMode.RECORD)
    predicted = (await replay_events(recorded)).formulas["same"].result
    over = sum(bool(event.get("over_limit")) for event in await recorded.read_events())

    refusing = await run_steps(client, steps, BrakeMode.REFUSE)
    denied = [e for e in await refusing.read_events() if e["type"] == "otp.issue_denied"]

    assert Counter(event["limit"] for event in denied) == predicted.refused_by
    assert predicted.refused > 3
    assert over > 3


async def test_a_replay_of_refuse_mode_refuses_what_the_service_has_refused(
    client: ScriptClient,
) -> None:
    """Its refusals are decided with the ranges and blocks that their events name."""
    steps = draw_steps(7)
    shop = await run_steps(client, steps, BrakeMode.REFUSE)

    replay = await replay_events(shop)

    denied = [e for e in await shop.read_events() if e["type"] == "otp.issue_denied"]
    assert len(denied) == replay.totals.denials > 3
    result = replay.formulas["same"].result
    assert (0, 0) == (result.refused, result.admitted_denials)
