"""Random histories of a tenant, and an oracle that keeps the books of one range and one country.

The oracle lists what is owed and forgets it by the rules of docs/pumping.md. It shares no code with the
decisions: it has lists of sends where the service has buckets.
"""

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from otp_service.core.errors import DebtLimited, DeliveryFailed, OtpError
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.policy import Policy
from otp_service.core.pumping.scopes import MESSAGE_UNITS, BrakeMode
from otp_service.service import pending_refunds
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    PROVIDER_REFUSAL,
    SECOND_MS,
    Installation,
    make_wrong_code,
)
from tests.service.brake_books import PRICE, drain, read_debts, start_brake


NUMBERS = [f"+44740012345{i}" for i in range(4)]
RANGE_SENDS, COUNTRY_SENDS = (3, 5), (4, 7)
PERIODS = (HOUR_MS, DAY_MS)
LOOSE_LIMITS = {
    limit: (Window(10_000, 3600),)
    if limit.startswith("Sends") or limit is Limit.REFUNDS
    else windows
    for limit, windows in DEFAULT_LIMITS.items()
}


class Oracle:
    """The books: who owes what since when, and which numbers are known."""

    def __init__(self, mode: BrakeMode) -> None:
        self.mode = mode
        self.owed: list[tuple[int, str]] = []
        """Instant and challenge of each send that is not repaid."""
        self.verified: list[int] = []
        self.cost: list[int] = []
        self.known: dict[str, tuple[int, list[int]]] = {}

    def count(self, instants: list[int], period: int, now: int) -> int:
        """Count what is at most a window and its current sixth old."""
        slot = period // 6
        return sum(now // slot - instant // slot < 7 for instant in instants)

    def find_over(self, now: int) -> str | None:
        """Return the narrowest scope without room; what has verified adds nothing without history."""
        owed = [instant for instant, _ in self.owed]
        for limit, floors in (
            ("UnverifiedPerRange", RANGE_SENDS),
            ("UnverifiedPerCountryAndTenant", COUNTRY_SENDS),
        ):
            windows = zip(PERIODS, floors, strict=True)
            if any(self.count(owed, period, now) + 1 > sends for period, sends in windows):
                return limit
        return None

    def is_exempt(self, number: str, now: int) -> bool:
        if number not in self.known:
            return False
        unpaid = self.known[number][1]
        return len(unpaid) < 6 and sum(now - instant < DAY_MS for instant in unpaid) < 3

    def send(self, number: str, challenge: str, now: int) -> tuple[str, str | None]:
        """Return the measure, and the limit that the send is over."""
        if self.is_exempt(number, now):
            self.known[number][1].append(now)
            self.cost.append(now)
            return "exempt", None
        over = self.find_over(now)
        if over is None:
            self.owed.append((now, challenge))
        if over is None or self.mode is BrakeMode.RECORD:
            self.cost.append(now)
        return "unverified", over

    def undo(self, number: str, challenge: str, now: int, measure: str, over: str | None) -> None:
        """Take back a send that no provider took."""
        self.cost.remove(now)
        if measure == "exempt":
            self.known[number][1].remove(now)
        elif over is None:
            self.owed.remove((now, challenge))

    def verify(self, number: str, challenge: str, now: int) -> None:
        """Repay the challenge. Its last debt is what has verified, once a day for each number."""
        paid = [instant for instant, one in self.owed if one == challenge]
        self.owed = [entry for entry in self.owed if entry[1] != challenge]
        verified_at = self.known.get(number, (-DAY_MS, []))[0]
        if paid and now - verified_at >= DAY_MS:
            self.verified.append(paid[-1])
        self.known[number] = now, []

    def build_book(self, now: int, one: int) -> list[int]:
        """Return what is unverified and verified in an hour and a day, by the charge of one message."""
        owed = [instant for instant, _ in self.owed]
        return [
            one * self.count(instants, period, now)
            for period in PERIODS
            for instants in (owed, self.verified)
        ]


class History:
    """Plays moves on an installation, and compares it with the oracle after each one."""

    def __init__(self, client: ScriptClient, mode: BrakeMode) -> None:
        installation = Installation(client)
        limited = msgspec.structs.replace(installation.tenants["shop"], limits=LOOSE_LIMITS)
        floors = {
            "range_sends": RANGE_SENDS,
            "country_money": tuple(PRICE * sends for sends in COUNTRY_SENDS),
        }
        self.shop = start_brake(
            installation, mode, floors=floors, policy=Policy(sends=9, attempts=9)
        )
        self.shop.tenants["shop"] = limited
        self.oracle = Oracle(mode)
        self.open: dict[str, tuple[str, Any, str]] = {}
        """Number, snapshot and newest code of each challenge by its id."""

    @property
    def now(self) -> int:
        return self.shop.clock_shift_ms

    async def play(self, move: str, rng: random.Random) -> None:
        """Make one move with a random number or challenge."""
        self.shop.advance_clock(31 * SECOND_MS)
        if move in {"issue", "fail"}:
            await self.issue(rng.choice(NUMBERS), fails=move == "fail")
        elif move == "wait":
            self.shop.advance_clock(rng.choice((3 * MINUTE_MS, 25 * MINUTE_MS, 5 * HOUR_MS)))
        elif self.open:
            await getattr(self, move)(rng.choice([*self.open]))
        await drain(self.shop)
        await self.compare()

    async def issue(self, number: str, *, fails: bool) -> None:
        await self.send(number, f"new-{self.now}", self.shop.issue(number), fails=fails)

    async def resend(self, challenge: str) -> None:
        number, snapshot, _ = self.open[challenge]
        await self.send(number, challenge, self.shop.resend(snapshot), fails=False)

    async def resend_and_fail(self, challenge: str) -> None:
        number, snapshot, _ = self.open[challenge]
        await self.send(number, challenge, self.shop.resend(snapshot), fails=True)

    async def send(self, number: str, challenge: str, call: Any, *, fails: bool) -> None:
        """Compare one send with what the oracle says of it."""
        refused_by = None
        if fails:
            self.shop.router.queue_replies(PROVIDER_REFUSAL)
        try:
            sent = await call
        except DebtLimited as refusal:
            self.shop.router.queued_replies.clear()
            refused_by = refusal.limit
            sent = None
        except DeliveryFailed:
            measure, over = self.oracle.send(number, challenge, self.now)
            self.oracle.undo(number, challenge, self.now, measure, over)
            return
        except OtpError:  # a challenge that has ended
            self.shop.router.queued_replies.clear()
            return
        measure, over = self.oracle.send(number, challenge, self.now)
        assert refused_by == (over if self.oracle.mode is BrakeMode.REFUSE else None)
        if sent is None:
            return
        event = await self.read_newest_event()
        assert (measure, over) == (event["measure"], event.get("over_limit"))
        challenge_id = self.shop.get_challenge_id(sent)
        self.oracle.owed = [
            (at, challenge_id if one == challenge else one) for at, one in self.oracle.owed
        ]
        self.open[challenge_id] = number, sent, self.shop.router.extract_code()

    async def verify(self, challenge: str) -> None:
        number, snapshot, code = self.open.pop(challenge)
        try:
            await self.shop.verify(snapshot, code)
        except OtpError:
            return
        self.oracle.verify(number, challenge, self.now)

    async def mistype(self, challenge: str) -> None:
        _, snapshot, code = self.open[challenge]
        with pytest.raises(OtpError):
            await self.shop.verify(snapshot, make_wrong_code(code))

    async def cancel(self, challenge: str) -> None:
        with suppress(OtpError):
            await self.shop.service.cancel(self.shop.build_caller(), challenge)
        del self.open[challenge]

    async def compare(self) -> None:
        """Compare the stored buckets with the books."""
        now, stored = self.now, await read_debts(self.shop)
        books = {name.split(":")[0]: book for name, book in stored.items()}
        for limit, one in (
            ("UnverifiedPerRange", MESSAGE_UNITS),
            ("UnverifiedPerCountryAndTenant", PRICE),
        ):
            assert books.get(limit, [0] * 4) == self.oracle.build_book(now, one), limit
        cost = [PRICE * self.oracle.count(self.oracle.cost, period, now) for period in PERIODS]
        assert books.get("SpendOverall", [0] * 4)[::2] == cost

    async def read_newest_event(self) -> dict[str, Any]:
        """Return the newest event of a send."""
        partition = self.shop.store.get_number_partition(NUMBERS[0])
        name = self.shop.store.key_names.event_log_keys(partition)[1]
        command = ("XREVRANGE", name, "+", "-", "COUNT", "9")
        (entries,) = await self.shop.script_client.run_pipeline(name, [command])
        events = [
            msgspec.json.decode(dict(zip(flat[::2], flat[1::2], strict=True))[b"event"])
            for _, flat in entries
        ]
        return next(event for event in events if event["type"] in EVENT_TYPES)


EVENT_TYPES = {"otp.issued", "otp.resent"}
MOVES = (
    ["issue"] * 6
    + ["resend"] * 2
    + ["fail", "resend_and_fail", "mistype", "cancel"]
    + ["verify"] * 4
    + ["wait"] * 2
)


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """Return a client of the newest Redis."""
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as client:
        yield client


@pytest.mark.parametrize("mode", [BrakeMode.REFUSE, BrakeMode.RECORD])
async def test_the_debts_of_any_history_are_those_of_the_books(
    client: ScriptClient, mode: BrakeMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R29: after each of 40 moves of 15 histories, and whatever a move was refused by."""
    monkeypatch.setattr(pending_refunds, "RETRY_INTERVAL_SECONDS", 0)
    for seed in range(15):
        for master in await client.list_masters():
            await client.read_from(master, "FLUSHALL")
        history, rng = History(client, mode), random.Random(f"{mode} {seed}")  # noqa: S311
        for _ in range(40):
            await history.play(rng.choice(MOVES), rng)
        assert history.oracle.cost
