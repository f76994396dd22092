"""The debts inside Redis against the arithmetic in core/pumping, move by move (issue 15)."""

import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.commit import Committed, OverDebt
from otp_service.core.pumping import debt, known_number
from otp_service.core.pumping.admissions import compute_wait
from otp_service.core.pumping.allowance import Figures, Terms
from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtOutcome,
    DebtRefund,
    DebtRepayment,
    DebtSettlement,
    KnownNumberName,
    RepaidSend,
    TrafficName,
)
from otp_service.core.pumping.debt import EMPTY_DEBT, Debt
from otp_service.core.pumping.decision import DebtCharge, DebtRefusal, decide_send
from otp_service.core.pumping.known_number import ExemptTime, KnownNumber
from otp_service.core.pumping.outages import EVIDENCE_SLOT_MS
from otp_service.core.pumping.scopes import DebtLimit, DebtUnit, ScopeBucket
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS
from otp_service.store.client import ScriptClient
from tests.store.frozen_store import PARTITION, FrozenStore


NUMBER = KnownNumberName("shop", "+447400123456")
PRICE = 41_357
BUCKETS = {
    "range": ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject="+44740012"),
    "country": ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB"),
    "address": ScopeBucket(DebtLimit.UNVERIFIED_ADDRESS, "shop", "192.0.2.1"),
    "countries": ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, "shop", "192.0.2.1"),
    "overall": ScopeBucket(DebtLimit.SPEND_OVERALL),
}


class Books:
    """What is expected to be stored, by the functions of core/pumping."""

    def __init__(self) -> None:
        self.debts: dict[ScopeBucket, Debt] = {}
        self.known: KnownNumber | None = None
        self.traffic: Counter[str] = Counter()

    def correct(self, charges: list[DebtCharge], now: int) -> None:
        """Count what was charged while the clock was ahead as charged now."""
        for charge in charges:
            stored = self.debts.get(charge.bucket, EMPTY_DEBT)
            settled = debt.settle_debt(stored, now)
            pairs = zip(stored.windows, settled.windows, strict=True)
            if any(before.newest_slot > after.newest_slot for before, after in pairs):
                self.debts[charge.bucket] = settled

    def send(self, commit: DebtCommit, now: int) -> OverDebt | DebtOutcome:
        """Decide a send, and note it."""
        if self.known and now - self.known.verified_at >= known_number.KNOWN_NUMBER_TTL_MS:
            self.known = None
        is_assumed = self.known is None and commit.is_assumed_known
        is_exempt = is_assumed or known_number.is_exempt(self.known, now)
        is_noted = is_exempt and commit.known_number is not None
        exempt_time = self.find_exempt_time(commit, now)
        is_exempt = is_noted or commit.is_exempt
        is_uncharged = is_exempt or commit.is_uncharged
        decision = decide_send(self.debts, commit.charges, now, is_uncharged=is_uncharged)
        self._note_country(decision.refusal, now)
        applying = [c for c in commit.charges if c.is_always_charged or not is_uncharged]
        if not decision.is_sent:
            assert decision.refusal is not None
            is_over = commit.is_uncharged and not is_exempt
            wait = compute_wait(self.debts, commit.charges, now, exempt_time, is_uncharged=is_over)
            self.correct(list(commit.charges), now)
            refusing = next(c for c in applying if c.bucket == decision.refusal.bucket)
            return OverDebt(decision.refusal, refusing.price, wait)
        self.correct(list_read(applying, decision.refusal), now)
        self.debts |= decision.debts
        if is_noted:
            known = self.known or KnownNumber(now)
            self.known = known_number.note_exempt_send(known, now)
        if is_exempt:
            self.traffic[f"{now // EVIDENCE_SLOT_MS}:e"] += 1
        elif not is_uncharged and decision.refusal is None:
            self.traffic[f"{now // HOUR_MS}:u"] += PRICE
        return DebtOutcome(
            is_exempt=is_exempt,
            over=decision.refusal,
            is_uncharged=commit.is_uncharged and not is_exempt,
            exempt_time=exempt_time,
        )

    def find_exempt_time(self, commit: DebtCommit, now: int) -> ExemptTime | None:
        """Return when the number is exempt, by its record or by what the commit knows of it."""
        found = None
        if commit.known_number is not None:
            is_assumed = commit.is_assumed_known
            found = known_number.find_exempt_time(self.known, now, is_assumed_known=is_assumed)
        return found or commit.exempt_time or (ExemptTime(0) if commit.is_exempt else None)

    def verify(self, sends: tuple[tuple[int, str], ...], now: int) -> tuple[bool, bool]:
        """Repay sends with their countries; return whether that raises the allowance, and pays."""
        raises = known_number.can_count(self.known, now)
        unpaid = self.known.unpaid_at if self.known else ()
        pays = any(instant > now - DAY_MS for instant in unpaid)
        self.known = known_number.note_verification(now)
        for i, (charged_at, country) in enumerate(sends, 1):
            verified = PRICE if raises and i == len(sends) else 0
            for bucket in BUCKETS.values():
                if bucket.limit.unit is DebtUnit.COUNTRIES:
                    self._repay(bucket, 1, charged_at, now, verified=1, country=country)
                elif bucket.limit.is_repaid:
                    self._repay(bucket, PRICE, charged_at, now, verified=verified)
            hour = charged_at // HOUR_MS
            self.traffic[f"{hour}:u"] -= PRICE
            self.traffic[f"{hour}:v"] += verified
        self.traffic[f"{now // EVIDENCE_SLOT_MS}:p"] += pays
        return raises, pays

    def refund(self, commit: DebtCommit, outcome: DebtOutcome, charged_at: int, now: int) -> None:
        """Take back a send that no provider took."""
        for charge in commit.charges:
            if outcome.is_charged or charge.is_always_charged:
                self._repay(charge.bucket, charge.price, charged_at, now, country=charge.country)
        hour = charged_at // HOUR_MS
        if outcome.is_exempt:
            self.traffic[f"{charged_at // EVIDENCE_SLOT_MS}:e"] -= 1
            if self.known and commit.known_number and charged_at in self.known.unpaid_at:
                self._remove_note(self.known, charged_at, is_assumed=commit.is_assumed_known)
        elif outcome.is_charged:
            self.traffic[f"{hour}:u"] -= PRICE

    def _remove_note(self, known: KnownNumber, charged_at: int, *, is_assumed: bool) -> None:
        unpaid = list(known.unpaid_at)
        del unpaid[len(unpaid) - 1 - unpaid[::-1].index(charged_at)]
        is_left_of_it = is_assumed and not unpaid and known.verified_at == charged_at
        self.known = None if is_left_of_it else KnownNumber(known.verified_at, tuple(unpaid))

    def _repay(
        self, bucket: ScopeBucket, amount: int, at: int, now: int, **more: int | str | None
    ) -> None:
        stored = self.debts.get(bucket, EMPTY_DEBT)
        repay: Any = debt.repay_debt
        self.debts[bucket] = repay(stored, amount, at, now, **more)

    def _note_country(self, full: Any, now: int) -> None:
        if full and full.bucket.limit is DebtLimit.UNVERIFIED_COUNTRY:
            self.traffic[f"{now // HOUR_MS}:r"] = 1


class Game:
    """A store and its books, which receive the same calls and must agree."""

    def __init__(self, client: ScriptClient) -> None:
        self.store = FrozenStore(client)
        self.books = Books()
        self.sent: list[tuple[str, DebtCommit, DebtOutcome, int]] = []
        self.ended: set[str] = set()
        self.traffic = TrafficName(f"shop-{secrets.token_hex(8)}", "GB")  # its key has no digest

    async def send(self, commit: DebtCommit) -> Any:
        operation, now = secrets.token_hex(8), self.store.now
        commit = replace(
            commit,
            charges=tuple(shift_ends(charge, now) for charge in commit.charges),
            exempt_time=shift_exempt_time(commit.exempt_time, now),
            traffic=self.traffic,
        )
        expected = self.books.send(commit, now)
        outcome = await self.store.decide(operation=operation, debts=commit)
        if isinstance(expected, OverDebt):
            assert expected == outcome
        else:
            assert Committed(now, debts=expected) == outcome
            self.sent.append((operation, commit, expected, now))
        await self.check()
        return outcome

    async def verify(self, count: int) -> None:
        """Verify a challenge that had as many of the latest sends."""
        chosen = [one for one in self.sent if one[0] not in self.ended][-count:]
        self.ended |= {operation for operation, *_ in chosen}
        sends = tuple((at, find_country(commit)) for _, commit, out, at in chosen if out.is_charged)
        settlement = DebtSettlement(
            repayments=tuple(build_repayments(sends)), known_number=NUMBER, traffic=self.traffic
        )
        raises, pays = self.books.verify(sends, self.store.now)
        outcome = await self.store.decide(settlement=settlement)
        assert (raises, pays) == (outcome.raises_allowance, outcome.pays_exempt_sends)
        await self.check()

    async def refund(self, index: int, times: int = 1) -> None:
        """Refund a send as often as the caller repeats it."""
        operation, commit, outcome, charged_at = self.sent[index % len(self.sent)]
        if operation in self.ended:
            return
        self.ended.add(operation)
        for _ in range(times):
            refund = DebtRefund(commit, operation)
            assert isinstance(await self.store.decide(debt_refunds=(refund,)), Committed)
        self.books.refund(commit, outcome, charged_at, self.store.now)
        await self.check()

    async def check(self) -> None:
        """Compare every bucket, the record of the number, and the totals."""
        names, client = self.store.key_names, self.store.client
        keys = [names.debt_key(PARTITION, bucket) for bucket in BUCKETS.values()]
        keys.append(names.known_number_key(PARTITION, NUMBER))
        values = await client.read_each(keys, "GET")
        *debts, known = [value and tuple(msgspec.msgpack.decode(value)) for value in values]
        debts = [bucket and sort_countries(bucket) for bucket in debts]
        expected = [self.books.debts.get(bucket, EMPTY_DEBT) for bucket in BUCKETS.values()]
        assert list(map(flatten, expected)) == debts
        stored = self.books.known
        key_id = names.limit_key_id
        assert known == (stored and (key_id, stored.verified_at, *stored.unpaid_at))
        key = names.traffic_key(PARTITION, self.traffic)
        (flat,) = await client.run_pipeline(key, [("HGETALL", key)])
        pairs = zip(flat[::2], flat[1::2], strict=True)
        totals = {field.decode(): int(total) for field, total in pairs}
        assert {field: total for field, total in self.books.traffic.items() if total} == totals


def list_read(charges: list[DebtCharge], full: DebtRefusal | None) -> list[DebtCharge]:
    """Return the charges whose buckets a decision reads: all until one refuses or is over."""
    read, is_over = [], False
    for charge in charges:
        if charge.is_always_charged or not is_over:
            read.append(charge)
            is_over = is_over or bool(full and full.bucket == charge.bucket)
    return read


def find_country(commit: DebtCommit) -> str:
    """Return the country of a send; empty without a scope that counts them."""
    return next((c.country for c in commit.charges if c.country is not None), "")


def build_repayments(sends: tuple[tuple[int, str], ...]) -> Iterator[DebtRepayment]:
    """Yield what these sends, each with its country, are repaid in each scope."""
    for bucket in BUCKETS.values():
        if bucket.limit.unit is DebtUnit.COUNTRIES:
            for at, country in sends:
                yield DebtRepayment(bucket, (RepaidSend(at, 1),), country)
        elif bucket.limit.is_repaid:
            yield DebtRepayment(bucket, tuple(RepaidSend(at, PRICE) for at, _ in sends))


def sort_countries(stored: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a stored bucket with its countries in order; another one as it is."""
    if len(stored) < 2 or isinstance(stored[1], int):
        return stored
    blocks = sorted(stored[start : start + 15] for start in range(1, len(stored), 15))
    return (stored[0], *(value for block in blocks for value in block))


def flatten(bucket: Debt) -> tuple[int | str, ...] | None:
    """Return a bucket as it is stored; None if it has no amount."""
    if bucket.countries:
        counted = {c: w for c, w in bucket.countries.items() if any(w.unverified + w.verified)}
        values: list[Any] = [
            v for c, w in sorted(counted.items()) for v in (c, *w.unverified, *w.verified)
        ]
        return (bucket.windows[1].newest_slot, *values) if counted else None
    if not any(any(one.unverified + one.verified) for one in bucket.windows):
        return None
    return tuple(
        value
        for one in bucket.windows
        for value in (one.newest_slot, *one.unverified, *one.verified)
    )


@st.composite
def build_commits(draw: st.DrawFn) -> DebtCommit:
    """Return sends in one partition; scopes have room for one to five."""
    charges = []
    country = draw(st.sampled_from(["GB", "FR", "DE", "IT"]))
    for name, bucket in BUCKETS.items():
        sends = draw(st.integers(0, 3))
        figures = Figures(
            draw(st.sampled_from([0.0, 0.37, 1.2])),
            draw(st.sampled_from([0.0, 0.15, 0.6])),
            draw(st.sampled_from([(0, 0), (PRICE, 2 * PRICE)])),
        )
        terms = Terms(
            (sends * PRICE, (sends + 1) * PRICE), figures, draw(st.sampled_from([0, 1.5]))
        )
        charge = DebtCharge(bucket, terms, PRICE, is_always_charged=name == "overall")
        if bucket.limit.unit is DebtUnit.COUNTRIES:
            charge = DebtCharge(bucket, Terms((sends, sends)), 1, country=country)
        flag = draw(st.sampled_from(["", "", "", "", "records", "records", *OVERRIDES]))
        charges.append((charge, flag))
    until = draw(st.integers(1, 3 * HOUR_MS))
    cause = draw(st.sampled_from(["", "", "", "exempt", "over"]))
    return DebtCommit(
        charges=tuple(_apply_flag(charge, flag, until) for charge, flag in charges),
        known_number=NUMBER if not cause and draw(st.booleans()) else None,
        is_assumed_known=draw(st.booleans()),
        is_uncharged=cause != "",
        is_exempt=cause == "exempt",
        exempt_time=draw(st.sampled_from([None, None, *EXEMPT_TIMES])) if cause else None,
        traffic=None,
    )


def _apply_flag(charge: DebtCharge, flag: str, until: int) -> DebtCharge:
    match flag:
        case "records" if not charge.is_always_charged:
            return replace(charge, refuses=False)
        case "open":
            return replace(charge, open_until=until)
        case "closed":
            return replace(charge, closed_until=until)
        case "closed in record mode":
            return replace(charge, closed_until=until, recorded_from=until)
        case _:
            return charge


EXEMPT_TIMES = (ExemptTime(0), ExemptTime(HOUR_MS // 2), ExemptTime(0, HOUR_MS))
"""What an earlier commit has found, from now on."""
OVERRIDES = ("open", "closed", "closed in record mode")
moves = st.one_of(
    st.tuples(st.just("send"), build_commits()),
    st.tuples(st.just("send"), build_commits()),
    st.tuples(st.just("wait"), st.integers(0, 15 * 60_000)),
    st.tuples(st.just("wait"), st.integers(0, 12 * HOUR_MS)),
    st.tuples(st.just("wait"), st.integers(-26 * HOUR_MS, 0)),
    st.tuples(st.just("verify"), st.integers(1, 3)),
    st.tuples(st.just("refund"), st.integers(0, 9), st.integers(1, 2)),
)


async def send_exempt(game: Game, times: int, *, is_assumed: bool = False) -> list[bool]:
    """Send to the known number, with room in every scope, and return which sends were exempt."""
    charge = DebtCharge(BUCKETS["country"], Terms((99 * PRICE, 99 * PRICE)), PRICE)
    commit = DebtCommit(charges=(charge,), known_number=NUMBER, is_assumed_known=is_assumed)
    return [(await game.send(commit)).debts.is_exempt for _ in range(times)]


async def test_a_known_number_has_few_exempt_sends(one_server_client: ScriptClient) -> None:
    """Three a day, and six until it verifies: an attacker may own known numbers."""
    game = Game(one_server_client)
    assert [False] == await send_exempt(game, 1)
    await game.verify(1)

    assert [True, True, True, False] == await send_exempt(game, 4)
    game.store.now += DAY_MS
    assert [True, True, True, False] == await send_exempt(game, 4)
    game.store.now += DAY_MS
    assert [False] == await send_exempt(game, 1)
    await game.verify(1)
    assert [True] == await send_exempt(game, 1)


async def test_a_number_that_a_caller_knows_has_as_few(one_server_client: ScriptClient) -> None:
    """The word of a trusted caller begins the record, and lifts no bound of it."""
    game = Game(one_server_client)

    assert [True, True, True, False] == await send_exempt(game, 4, is_assumed=True)
    game.store.now += DAY_MS
    assert [True] == await send_exempt(game, 1)


async def test_a_challenge_counts_once_however_often_it_was_sent(
    one_server_client: ScriptClient,
) -> None:
    """Its sends are repaid in their own slots, and one price has verified, of the last send."""
    game = Game(one_server_client)
    charge = DebtCharge(BUCKETS["country"], Terms((99 * PRICE, 99 * PRICE)), PRICE)
    for _ in range(3):
        await game.send(DebtCommit(charges=(charge,)))
        game.store.now += 10 * MINUTE_MS

    await game.verify(3)

    hour, _ = game.books.debts[charge.bucket].windows
    assert (0, PRICE) == (sum(hour.unverified), sum(hour.verified))


def build_country_send(country: str) -> DebtCommit:
    """Return a send from an address that may have three countries."""
    money = DebtCharge(BUCKETS["country"], Terms((99 * PRICE, 99 * PRICE)), PRICE)
    charge = DebtCharge(BUCKETS["countries"], Terms((3, 3)), 1, country=country)
    return DebtCommit(charges=(money, charge))


async def test_countries_age_from_now_on_after_the_clock_was_ahead(
    one_server_client: ScriptClient,
) -> None:
    """Messages of two slots keep their distance, and the address is not full for longer than a day."""
    game = Game(one_server_client)
    for country in ("GB", "FR"):
        await game.send(build_country_send(country))
    game.store.now += 5 * HOUR_MS
    await game.send(build_country_send("DE"))

    game.store.now -= 26 * HOUR_MS
    refusal = await game.send(build_country_send("IT"))
    game.store.now += refusal.wait_ms

    assert isinstance(await game.send(build_country_send("IT")), Committed)
    assert ["DE", "IT"] == [
        country
        for country, window in game.books.debts[BUCKETS["countries"]].countries.items()
        if any(window.unverified)
    ]


async def test_a_country_is_repaid_until_its_message_leaves_the_day(
    one_server_client: ScriptClient,
) -> None:
    """In its oldest slot, and in none after that."""
    game = Game(one_server_client)
    for country in ("GB", "FR"):
        await game.send(build_country_send(country))
        game.store.now += 24 * HOUR_MS

    await game.verify(1)
    assert any(game.books.debts[BUCKETS["countries"]].countries["FR"].verified)
    await game.verify(1)
    assert not any(game.books.debts[BUCKETS["countries"]].countries["GB"].verified)


async def test_a_number_that_verifies_again_within_a_day_takes_its_country_out(
    one_server_client: ScriptClient,
) -> None:
    """It raises no allowance then, and is a person all the same."""
    game = Game(one_server_client)
    for country in ("GB", "FR"):
        await game.send(build_country_send(country))
        await game.verify(1)

    windows = game.books.debts[BUCKETS["countries"]].countries
    assert [1, 1] == [sum(windows[country].verified) for country in ("GB", "FR")]
    assert PRICE == sum(game.books.debts[BUCKETS["country"]].windows[1].verified)


async def test_a_full_country_that_only_records_leaves_the_range_uncharged(
    one_server_client: ScriptClient,
) -> None:
    """One commit has both: all scopes are charged, or none but the budget of the day."""
    game = Game(one_server_client)
    rooms = {"range": 9, "country": 1, "overall": 9}
    charges = tuple(
        DebtCharge(
            BUCKETS[name],
            Terms((room * PRICE, room * PRICE)),
            PRICE,
            refuses=False,
            is_always_charged=name == "overall",
        )
        for name, room in rooms.items()
    )

    outcomes = [await game.send(DebtCommit(charges=charges)) for _ in range(2)]

    assert [True, False] == [outcome.debts.is_charged for outcome in outcomes]
    unverified = [sum(game.books.debts[BUCKETS[name]].windows[1].unverified) for name in rooms]
    assert [PRICE, PRICE, 2 * PRICE] == unverified


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(moves, min_size=10, max_size=30))
async def test_debts_are_those_of_the_model(
    one_server_client: ScriptClient, played: list[tuple[Any, ...]]
) -> None:
    """Decisions, waits and what is stored: sends, verifications, refunds, a clock that jumps."""
    game = Game(one_server_client)
    for name, *how in played:
        match name:
            case "send":
                await game.send(*how)
            case "wait":
                game.store.now += how[0]
            case "verify":
                await game.verify(*how)
            case "refund" if game.sent:
                await game.refund(*how)


def shift_ends(charge: DebtCharge, now: int) -> DebtCharge:
    """Return a charge that is open or closed for a time from now on."""
    return replace(
        charge,
        open_until=charge.open_until and charge.open_until + now,
        closed_until=charge.closed_until and charge.closed_until + now,
        recorded_from=charge.recorded_from and charge.recorded_from + now,
    )


def shift_exempt_time(span: ExemptTime | None, now: int) -> ExemptTime | None:
    """Return a span that begins and ends some time from now on."""
    if span is None:
        return None
    ends_at = None if span.ends_at is None else span.ends_at + now
    return ExemptTime(span.starts_at and span.starts_at + now, ends_at)
