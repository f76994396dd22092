"""The brake on SMS pumping in the use cases: what each call charges, refuses, takes back and repays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from otp_service.core.commit import ChallengeSnapshot, Commit, CommitOutcome
from otp_service.core.errors import (
    ChallengeEnded,
    DebtLimited,
    DeliveryFailed,
    NumberNotAllowed,
    OtpError,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.phone_number import parse_number
from otp_service.core.ports import HashPriority, Store
from otp_service.core.pumping.bot_check import BotCheck
from otp_service.core.pumping.scopes import MESSAGE_UNITS, BrakeMode, DebtLimit, DebtUnit
from otp_service.core.risk import RiskAssessment, RiskQuery
from otp_service.service import OtpService
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import (
    ACCEPTED_REPLY,
    HOUR_MS,
    MINUTE_MS,
    PROVIDER_REFUSAL,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    gather_results,
)
from tests.service.brake_books import (
    CLIENT,
    NUMBER,
    PRICE,
    REPAID_LIMITS,
    Books,
    drain,
    read_books,
    read_measures,
    start_brake,
    sum_debts,
)
from tests.service.test_commit_guards import lose_replicas
from tests.service.test_risk_check import REFUSED, UNKNOWN, FakeRiskService
from tests.service.test_verifications import check, start
from tests.store import redis_servers


NEIGHBOR, OTHER_RANGE = "+447400123457", "+447400133456"
PHONE = parse_number(NUMBER)
RECORD, REFUSE = BrakeMode.RECORD, BrakeMode.REFUSE

LIMIT_FLOORS: dict[DebtLimit, dict[str, Any]] = {
    DebtLimit.UNVERIFIED_RANGE: {"floors": {"range_sends": (1, 1)}},
    DebtLimit.UNVERIFIED_BLOCK: {"floors": {"block_sends": (1, 1)}},
    DebtLimit.UNVERIFIED_COUNTRY: {"floors": {"country_money": (PRICE, PRICE)}},
    DebtLimit.UNVERIFIED_NEW_COUNTRIES: {"floors": {"new_countries_money": (PRICE, PRICE)}},
    DebtLimit.UNVERIFIED_ADDRESS: {"floors": {"address_sends": (1, 1)}},
    DebtLimit.SPEND_OVERALL: {"day_budget": PRICE},
}
"""With these settings, the second message is over this limit."""

NARROW = {"range_sends": (2, 3)}


@pytest.fixture
async def local(server: EmbeddedServer) -> AsyncIterator[Installation]:
    """Return an installation on the newest Redis, where the kind of Redis does not matter."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as client:
        yield Installation(client)


def get_message_charge(limit: DebtLimit) -> int:
    """Return what one message is charged in a scope of money or of messages."""
    return MESSAGE_UNITS if limit.unit is DebtUnit.MESSAGES else PRICE


async def issue_and_verify(installation: Installation, number: str = NUMBER, **more: Any) -> None:
    """Log in, after the cooldown of an earlier message."""
    installation.advance_clock(31 * SECOND_MS)
    issued = await installation.issue(number, **CLIENT, **more)
    await installation.verify(issued, installation.router.extract_code(), **more)
    await drain(installation)


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("limit", LIMIT_FLOORS)
async def test_a_full_scope_refuses_and_nothing_of_the_send_stays_charged(
    installation: Installation, limit: DebtLimit
) -> None:
    """R29: on each kind of Redis; in a cluster each commit runs by itself."""
    shop = start_brake(installation, **LIMIT_FLOORS[limit])
    await shop.issue(NUMBER, **CLIENT)
    before = await read_books(shop)

    with pytest.raises(DebtLimited) as refusal:
        await shop.issue(NEIGHBOR, **CLIENT)

    assert (limit, 1) == (refusal.value.limit, refusal.value.quota)
    assert before == await read_books(shop)
    assert 1 == len(shop.router.messages)
    (denied,) = [e for e in await shop.read_events() if e["type"] == "otp.issue_denied"]
    one = get_message_charge(limit)
    assert (limit, "rate_limited", one, one, PRICE) == (
        denied["limit"],
        denied["reason"],
        denied["unverified"],
        denied["allowance"],
        denied["price"],
    )


@pytest.mark.parametrize("limit", [DebtLimit.UNVERIFIED_RANGE, DebtLimit.UNVERIFIED_COUNTRY])
async def test_waiting_exactly_retry_after_succeeds(local: Installation, limit: DebtLimit) -> None:
    """R52: a second earlier it is refused as before."""
    shop = start_brake(local, **LIMIT_FLOORS[limit])
    await shop.issue(NUMBER)
    shop.advance_clock(5 * MINUTE_MS)
    with pytest.raises(DebtLimited) as refusal:
        await shop.issue(NEIGHBOR)

    shop.advance_clock((refusal.value.retry_after - 1) * SECOND_MS)
    with pytest.raises(DebtLimited) as again:
        await shop.issue(NEIGHBOR)
    assert 1 == again.value.retry_after
    shop.advance_clock(SECOND_MS)
    await shop.issue(NEIGHBOR)


async def test_a_range_that_is_full_leaves_the_others_open(local: Installation) -> None:
    """It never charges a wider scope, so an attack on it cannot use up the country."""
    shop = start_brake(local, floors=NARROW)

    answers = await gather_results(*(shop.issue(f"+44740012345{i}") for i in range(9)))

    assert 2 == len(shop.router.messages)
    refusals = [answer.limit for answer in answers if isinstance(answer, DebtLimited)]
    assert ["UnverifiedPerRange"] * 7 == refusals
    assert (2, 0) == (await sum_debts(shop))["UnverifiedPerCountryAndTenant"]
    await shop.issue(OTHER_RANGE)


async def test_a_limit_that_refuses_leaves_no_debt(installation: Installation) -> None:
    """The first commit, the second and the third: those of the caller, the number and what all share."""
    shop = start_brake(installation)
    await shop.issue(NUMBER, **CLIENT)
    refusing = {
        Limit.SENDS_ADDRESS: (NEIGHBOR, CLIENT),
        Limit.COOLDOWN: (NUMBER, {}),
        Limit.SENDS_COUNTRY: (NEIGHBOR, {}),
    }
    for limit, (number, client) in refusing.items():
        limits = {**DEFAULT_LIMITS, limit: (Window(1, 3600),)}
        shop.tenants["shop"] = msgspec.structs.replace(shop.tenants["shop"], limits=limits)
        before = await read_books(shop)

        with pytest.raises(RateLimited) as refusal:
            await shop.issue(number, **client)

        assert limit == refusal.value.limit
        assert before == await read_books(shop)


# ------------------------------------------------------------------------------------ record mode


@pytest.mark.parametrize("limit", LIMIT_FLOORS)
async def test_record_mode_sends_what_refuse_mode_refuses_and_records_it(
    installation: Installation, limit: DebtLimit
) -> None:
    """Only the cost of the day is charged for it; and the budget of the day refuses in this mode too."""
    shop = start_brake(installation, RECORD, **LIMIT_FLOORS[limit])
    await shop.issue(NUMBER, **CLIENT)
    if limit is DebtLimit.SPEND_OVERALL:
        with pytest.raises(DebtLimited):
            await shop.issue(NEIGHBOR, **CLIENT)
        return

    await shop.issue(NEIGHBOR, **CLIENT)

    assert dict.fromkeys(REPAID_LIMITS, (1, 0)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)
    assert [("unverified", None), ("unverified", limit)] == await read_measures(shop)
    recorded = [e for e in await shop.read_events() if e["type"] == "otp.issued"][-1]
    one = get_message_charge(limit)
    assert (PRICE, one, one) == (
        recorded["price"],
        recorded["unverified"],
        recorded["allowance"],
    )


async def test_a_send_over_a_limit_in_record_mode_is_settled_once(local: Installation) -> None:
    """Its range was charged and repaid: neither its failure nor its verification takes that of others."""
    shop = start_brake(local, RECORD, floors={"block_sends": (1, 1)})
    await shop.issue(NEIGHBOR)
    shop.router.queue_replies(PROVIDER_REFUSAL)
    with pytest.raises(DeliveryFailed):
        await shop.issue(NUMBER)
    assert (1, 0) == (await sum_debts(shop))["UnverifiedPerRange"]
    assert (1, 0) == (await sum_debts(shop))["SpendOverall"]

    await issue_and_verify(shop)

    assert {"UnverifiedPerRange": (1, 0), "SpendOverall": (2, 0)} == {
        limit: sums
        for limit, sums in (await sum_debts(shop)).items()
        if limit in {"UnverifiedPerRange", "SpendOverall"}
    }


# --------------------------------------------------------------------------------------- settling


async def test_a_verification_repays_its_sends_and_raises_the_allowance_by_one_price(
    installation: Installation,
) -> None:
    """Resends are no debt. What was spent stays spent."""
    shop = start_brake(installation)
    issued = await shop.issue(NUMBER, **CLIENT)
    shop.advance_clock(31 * SECOND_MS)
    await shop.resend(issued)
    assert dict.fromkeys([*REPAID_LIMITS, "SpendOverall"], (2, 0)) == await sum_debts(shop)

    await shop.verify(issued, shop.router.extract_code(), key="k")
    await drain(shop)

    repaid = dict.fromkeys(REPAID_LIMITS, (0, 1)) | {"SpendOverall": (2, 0)}
    assert repaid == await sum_debts(shop)
    books = await read_books(shop)
    assert [PRICE] == list(books["totals"].values())
    assert [shop.clock_shift_ms] == [record[-1] for record in books["known"].values()]
    await shop.verify(issued, shop.router.extract_code(), key="k")
    await drain(shop)
    assert repaid == await sum_debts(shop)


async def test_a_verification_raises_the_allowance_once_a_day(local: Installation) -> None:
    """Two logins of one person are exempt or not: they count as one."""
    shop = start_brake(local)
    first = await shop.issue(NUMBER)
    first_code = shop.router.extract_code()
    shop.advance_clock(31 * SECOND_MS)
    second = await shop.issue(NUMBER)

    await shop.verify(first, first_code)
    await shop.verify(second, shop.router.extract_code())
    await drain(shop)

    assert (0, 1) == (await sum_debts(shop))["UnverifiedPerRange"]
    assert (0, 1) == (await sum_debts(shop))["UnverifiedPerCountryAndTenant"]


async def test_a_verification_repays_a_resend_that_was_stored_meanwhile(
    local: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code is compared while another one is on its way."""
    shop = start_brake(local)
    issued = await shop.issue(NUMBER, **CLIENT)
    code, compute = shop.router.extract_code(), shop.hasher.compute_argon2id

    async def resend_first(*arguments: Any, **more: Any) -> bytes:
        if more.get("priority") is HashPriority.VERIFY:
            await resend_later(shop, issued)
        return await compute(*arguments, **more)

    monkeypatch.setattr(shop.dependencies.hasher, "compute_argon2id", resend_first)
    await shop.verify(issued, code)
    await drain(shop)

    assert dict.fromkeys(REPAID_LIMITS, (0, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


async def test_the_verification_of_an_exempt_send_is_in_the_totals(local: Installation) -> None:
    """They show an outage: known numbers that are sent codes and do not verify."""
    shop = start_brake(local)
    await issue_and_verify(shop)
    await issue_and_verify(shop)

    totals = (await read_books(shop))["totals"]

    assert {"e": 1, "p": 1, "v": PRICE} == {name.split(":")[-1]: n for name, n in totals.items()}


@pytest.mark.parametrize("end", ["cancel", "lock", "expire"])
async def test_a_challenge_that_ends_otherwise_repays_nothing(
    local: Installation, end: str
) -> None:
    """Its message was sent, and nobody has entered the code."""
    shop = start_brake(local)
    issued = await shop.issue(NUMBER)
    before = await sum_debts(shop)
    code = shop.router.extract_code()

    if end == "cancel":
        await shop.service.cancel(shop.build_caller(), shop.get_challenge_id(issued))
    elif end == "expire":
        shop.advance_clock(10 * MINUTE_MS)
    else:
        for offset in range(5):
            shop.advance_clock(HOUR_MS // 60)
            await gather_results(shop.verify(issued, f"{(int(code) + 1 + offset) % 10**6:06d}"))

    with pytest.raises(OtpError):
        await shop.verify(issued, code)
    await drain(shop)
    assert before == await sum_debts(shop)
    assert {} == (await read_books(shop))["known"]


async def test_a_check_of_twilios_api_repays_as_well(local: Installation) -> None:
    shop = start_brake(local)
    await start(shop)
    await start(shop)
    assert (2, 0) == (await sum_debts(shop))["UnverifiedPerRange"]

    await check(shop, shop.router.extract_code())
    await drain(shop)

    assert (0, 1) == (await sum_debts(shop))["UnverifiedPerRange"]
    assert (0, 1) == (await sum_debts(shop))["UnverifiedPerCountryAndTenant"]


class SlowSettlements:
    """Forwards calls to a store, and holds back the settlement of what all share."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.entered, self.is_released = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, commit: Commit) -> CommitOutcome:
        if commit.operation_id.startswith("settle-"):
            self.entered.set()
            await self.is_released.wait()
        return await self._store.commit(commit)


async def test_a_verify_does_not_wait_for_the_settlement_of_what_all_share(
    local: Installation,
) -> None:
    """A range has room at once, a country a moment later; the shutdown waits for it."""
    shop = start_brake(local)
    store = SlowSettlements(shop.store)
    shop.dependencies = msgspec.structs.replace(shop.dependencies, store=store)
    shop.service = OtpService(shop.dependencies)
    issued = await shop.issue(NUMBER)

    await shop.verify(issued, shop.router.extract_code())

    sums = await sum_debts(shop)
    assert ((0, 1), (1, 0)) == (sums["UnverifiedPerRange"], sums["UnverifiedPerCountryAndTenant"])
    await asyncio.wait_for(store.entered.wait(), 20)
    store.is_released.set()
    await drain(shop)
    assert (0, 1) == (await sum_debts(shop))["UnverifiedPerCountryAndTenant"]


# ---------------------------------------------------------------------------------- known numbers


@pytest.mark.parametrize("mode", [RECORD, REFUSE])
async def test_a_known_number_is_exempt_three_times_a_day(
    installation: Installation, mode: BrakeMode
) -> None:
    """R29: it costs of the budget of the day alone, also where its range is full."""
    shop = start_brake(installation, mode, floors={"range_sends": (1, 1)})
    await issue_and_verify(shop)
    await shop.issue(NEIGHBOR)
    for _ in range(3):
        shop.advance_clock(11 * MINUTE_MS)
        await shop.issue(NUMBER)

    shop.advance_clock(11 * MINUTE_MS)
    fourth = (await gather_results(shop.issue(NUMBER)))[0]

    assert (1, 1) == (await sum_debts(shop))["UnverifiedPerRange"]
    assert (5 + (mode is RECORD), 0) == (await sum_debts(shop))["SpendOverall"]
    assert isinstance(fourth, DebtLimited) == (mode is REFUSE)
    expected: list[Any] = [("unverified", None)] * 2 + [("exempt", None)] * 3
    if mode is RECORD:
        expected.append(("unverified", "UnverifiedPerRange"))
    assert expected == await read_measures(shop)


async def test_the_exemption_ends_after_six_unpaid_sends_until_the_number_verifies(
    local: Installation,
) -> None:
    shop = start_brake(local)
    await issue_and_verify(shop)
    for _ in range(7):
        shop.advance_clock(9 * HOUR_MS)
        issued = await shop.issue(NUMBER)
    assert [("exempt", None)] * 6 + [("unverified", None)] == (await read_measures(shop))[1:]

    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)
    shop.advance_clock(31 * SECOND_MS)
    await shop.issue(NUMBER)

    assert ("exempt", None) == (await read_measures(shop))[-1]


async def test_a_number_is_known_at_the_tenant_where_it_has_verified(local: Installation) -> None:
    """Tenants share ranges, and not what they know."""
    both = start_brake(local, floors={"range_sends": (1, 1)})
    await issue_and_verify(both)
    both.advance_clock(31 * SECOND_MS)

    await both.issue(NUMBER, tenant="bank")
    with pytest.raises(DebtLimited):
        await both.issue(NEIGHBOR, tenant="shop")

    assert [("unverified", None)] * 2 == await read_measures(both)
    both.advance_clock(31 * SECOND_MS)
    await both.issue(NUMBER, tenant="shop")
    assert ("exempt", None) == (await read_measures(both))[-1]


async def test_a_tenant_without_the_brake_is_charged_nothing_and_knows_no_number(
    local: Installation,
) -> None:
    both = start_brake(local, modes={"bank": BrakeMode.OFF})

    await issue_and_verify(both, tenant="bank")

    books = await read_books(both)
    assert ({}, {}, {}) == (books["debts"], books["known"], books["totals"])
    assert [(None, None)] == await read_measures(both)


# -------------------------------------------------------------------------------- undone sends


class InterruptingRiskService(FakeRiskService):
    """Does something between the charges of a send and its code."""

    def __init__(self) -> None:
        super().__init__()
        self.interruption: Callable[[], Awaitable[Any]] | None = None

    async def assess(self, query: RiskQuery) -> RiskAssessment:
        if self.interruption is not None:
            await self.interruption()
        return await super().assess(query)


@pytest.fixture
def risk() -> InterruptingRiskService:
    return InterruptingRiskService()


def assert_same_debts(before: Books, after: Books) -> None:
    """Compare all but the buckets of limits, which a refund may empty or leave."""
    for book in ("debts", "known", "totals"):
        assert before[book] == after[book], book


async def refuse_by_risk(_: Installation, risk: InterruptingRiskService, call: Any) -> None:
    """Refuse also what is queued to be unknown: the answers are those of one question."""
    risk.queued.clear()
    risk.queued.append(REFUSED)
    with pytest.raises(NumberNotAllowed):
        await call


async def block_meanwhile(shop: Installation, risk: InterruptingRiskService, call: Any) -> None:
    numbers, caller = shop.service.numbers, shop.build_caller()
    risk.interruption = partial(numbers.block_number, caller, PHONE)
    with pytest.raises(NumberNotAllowed):
        await call
    risk.interruption = None
    await numbers.unblock_number(caller, PHONE)


async def fail_delivery(shop: Installation, _: InterruptingRiskService, call: Any) -> None:
    shop.router.queue_replies(PROVIDER_REFUSAL)
    with pytest.raises(DeliveryFailed):
        await call


async def lose_challenge(shop: Installation, _: InterruptingRiskService, call: Any) -> None:
    """Store the challenge where too few replicas have it."""
    lose_replicas(shop)
    with pytest.raises(StoreUnavailable):
        await call
    shop.store.client = shop.script_client
    await drain(shop)


async def prepare_issue(shop: Installation, _: InterruptingRiskService) -> Any:
    return shop.issue(NUMBER, **CLIENT)


async def prepare_exempt_issue(shop: Installation, _: InterruptingRiskService) -> Any:
    await issue_and_verify(shop)
    shop.advance_clock(31 * SECOND_MS)
    return shop.issue(NUMBER, **CLIENT)


async def prepare_issue_without_exemption(shop: Installation, risk: InterruptingRiskService) -> Any:
    """Say that a known number is unknown."""
    issue = await prepare_exempt_issue(shop, risk)
    risk.queued.append(UNKNOWN)
    return issue


async def prepare_resend(shop: Installation, _: InterruptingRiskService) -> Any:
    issued = await shop.issue(NUMBER, **CLIENT)
    shop.advance_clock(31 * SECOND_MS)
    return shop.resend(issued)


async def prepare_delivery(shop: Installation, _: InterruptingRiskService) -> Any:
    return shop.deliver(number=NUMBER, **CLIENT)


PREPARATIONS = [
    prepare_issue,
    prepare_exempt_issue,
    prepare_issue_without_exemption,
    prepare_resend,
    prepare_delivery,
]


@pytest.mark.parametrize("undo", [refuse_by_risk, block_meanwhile, fail_delivery, lose_challenge])
@pytest.mark.parametrize(
    ("mode", "prepare"),
    [(REFUSE, prepare) for prepare in PREPARATIONS]
    + [(RECORD, prepare_issue), (RECORD, prepare_resend)],
)
async def test_a_send_that_is_not_sent_leaves_no_debt(
    local: Installation, risk: InterruptingRiskService, mode: BrakeMode, prepare: Any, undo: Any
) -> None:
    """What others owe stays. In record mode the send is over a limit of its block."""
    floors = {"block_sends": (2, 2)} if mode is RECORD else {}
    shop = start_brake(local, mode, risk_service=risk, floors=floors)
    for neighbor in (NEIGHBOR, "+447400123458"):
        await shop.issue(neighbor, **CLIENT)
    call = await prepare(shop, risk)
    before = await read_books(shop)

    await undo(shop, risk, call)

    assert_same_debts(before, await read_books(shop))


async def test_a_resend_that_failed_is_not_repaid_again(local: Installation) -> None:
    """The verification of the earlier code repays the earlier message."""
    shop = start_brake(local)
    await shop.issue(NEIGHBOR, **CLIENT)
    issued = await shop.issue(NUMBER, **CLIENT)
    code = shop.router.extract_code()
    await fail_delivery(shop, InterruptingRiskService(), resend_later(shop, issued))

    await shop.verify(issued, code)
    await drain(shop)

    assert dict.fromkeys(REPAID_LIMITS, (1, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


async def resend_later(shop: Installation, issued: ChallengeSnapshot) -> ChallengeSnapshot:
    """Send another code after the cooldown."""
    shop.advance_clock(31 * SECOND_MS)
    return await shop.resend(issued)


async def test_a_failed_send_that_may_not_be_refunded_is_repaid_by_the_verification(
    local: Installation,
) -> None:
    """Refunds of a number are limited, or sending could be free."""
    limits = {**DEFAULT_LIMITS, Limit.REFUNDS: (Window(1, 3600),)}
    local.tenants["shop"] = msgspec.structs.replace(local.tenants["shop"], limits=limits)
    shop = start_brake(local)
    shop.tenants.update(local.tenants)
    issued = await shop.issue(NUMBER, **CLIENT)
    code = shop.router.extract_code()
    for expected in (1, 2):
        await fail_delivery(shop, InterruptingRiskService(), resend_later(shop, issued))
        assert (expected, 0) == (await sum_debts(shop))["UnverifiedPerRange"]

    await shop.verify(issued, code)
    await drain(shop)

    assert dict.fromkeys(REPAID_LIMITS, (0, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


async def test_a_resend_that_fails_after_the_verification_takes_nothing_from_others(
    local: Installation,
) -> None:
    """The earlier code arrives while the resend is sent; its verification repays both messages."""
    shop = start_brake(local)
    await shop.issue(NEIGHBOR, **CLIENT)
    issued = await shop.issue(NUMBER, **CLIENT)
    code = shop.router.extract_code()
    shop.router.on_send = lambda: shop.verify(issued, code)

    await fail_delivery(shop, InterruptingRiskService(), resend_later(shop, issued))
    await drain(shop)

    assert dict.fromkeys(REPAID_LIMITS, (1, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)
    totals = sorted((await read_books(shop))["totals"].values())
    assert [PRICE, PRICE] == totals


async def test_a_resend_of_a_challenge_that_has_verified_meanwhile_leaves_no_debt(
    local: Installation, risk: InterruptingRiskService
) -> None:
    shop = start_brake(local, risk_service=risk)
    await shop.issue(NEIGHBOR, **CLIENT)
    issued = await shop.issue(NUMBER, **CLIENT)
    risk.interruption = partial(shop.verify, issued, shop.router.extract_code())

    with pytest.raises(ChallengeEnded):
        await resend_later(shop, issued)
    await drain(shop)

    assert dict.fromkeys(REPAID_LIMITS, (1, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


async def test_each_message_that_may_have_been_sent_costs_and_one_is_a_debt(
    local: Installation,
) -> None:
    """They have one code; and they were sent, whatever is left of the budget."""
    shop = start_brake(local, day_budget=PRICE)
    shop.router.queue_replies(UNKNOWN_OUTCOME, ACCEPTED_REPLY)

    issued = await shop.issue(NUMBER, **CLIENT)

    assert dict.fromkeys(REPAID_LIMITS, (1, 0)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)
    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)
    assert dict.fromkeys(REPAID_LIMITS, (0, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


async def test_a_delivery_is_charged_by_volume(local: Installation) -> None:
    """To a known number as well, whose exemption it does not use."""
    shop = start_brake(local)
    await issue_and_verify(shop)
    before = await read_books(shop)
    shop.advance_clock(31 * SECOND_MS)

    await shop.deliver(number=NUMBER, **CLIENT)

    sums = await sum_debts(shop)
    assert ((1, 0), (1, 0), (2, 0)) == (
        sums["VolumePerCountryAndTenant"],
        sums["VolumeInNewCountriesPerTenant"],
        sums["SpendOverall"],
    )
    assert before["known"] == (await read_books(shop))["known"]
    assert ("volume", None) == (await read_measures(shop))[-1]


# -------------------------------------------------------------------------- the risk service


async def test_the_risk_service_ends_the_exemption_of_a_number(
    installation: Installation, risk: InterruptingRiskService
) -> None:
    """A swapped SIM: the send is a debt, as one to an unknown number. It costs once."""
    shop = start_brake(installation, risk_service=risk)
    await issue_and_verify(shop)
    shop.advance_clock(31 * SECOND_MS)
    risk.queued.append(UNKNOWN)

    issued = await shop.issue(NUMBER, **CLIENT)

    assert dict.fromkeys(REPAID_LIMITS, (1, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)
    assert ("unverified", None) == (await read_measures(shop))[-1]
    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)
    assert dict.fromkeys(REPAID_LIMITS, (0, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


async def test_an_answer_about_a_send_that_is_not_exempt_charges_nothing_more(
    local: Installation, risk: InterruptingRiskService
) -> None:
    """A number that has not verified here is unknown anyway, and a delivery is never exempt."""
    shop = start_brake(local, risk_service=risk)
    risk.queued += [UNKNOWN, UNKNOWN]

    await shop.issue(NUMBER, **CLIENT)
    await shop.deliver(number=NEIGHBOR, **CLIENT)

    volumes = {"VolumePerCountryAndTenant": (1, 0), "VolumeInNewCountriesPerTenant": (1, 0)}
    expected = dict.fromkeys(REPAID_LIMITS, (1, 0)) | volumes | {"SpendOverall": (2, 0)}
    assert expected == await sum_debts(shop)


@pytest.mark.parametrize("limit", REPAID_LIMITS)
async def test_a_send_without_its_exemption_may_be_refused(
    local: Installation, risk: InterruptingRiskService, limit: DebtLimit
) -> None:
    """Everything is refunded: it is as if it had not been tried."""
    shop = start_brake(local, risk_service=risk, **LIMIT_FLOORS[limit])
    await issue_and_verify(shop)
    await shop.issue(NEIGHBOR, **CLIENT)
    shop.advance_clock(31 * SECOND_MS)
    before = await read_books(shop)
    risk.queued.append(UNKNOWN)

    with pytest.raises(DebtLimited) as refusal:
        await shop.issue(NUMBER, **CLIENT)

    assert limit == refusal.value.limit
    assert_same_debts(before, await read_books(shop))
    denied = [e for e in await shop.read_events() if e["type"] == "otp.issue_denied"]
    assert [(limit, get_message_charge(limit), "unknown-number")] == [
        (event["limit"], event["unverified"], event["risk_answer"]) for event in denied
    ]


@pytest.mark.parametrize("limit", REPAID_LIMITS)
async def test_record_mode_records_that_a_send_without_its_exemption_is_over(
    local: Installation, risk: InterruptingRiskService, limit: DebtLimit
) -> None:
    shop = start_brake(local, RECORD, risk_service=risk, **LIMIT_FLOORS[limit])
    await issue_and_verify(shop)
    await shop.issue(NEIGHBOR, **CLIENT)
    shop.advance_clock(31 * SECOND_MS)
    risk.queued.append(UNKNOWN)

    await shop.issue(NUMBER, **CLIENT)

    assert dict.fromkeys(REPAID_LIMITS, (1, 1)) | {"SpendOverall": (3, 0)} == await sum_debts(shop)
    assert ("unverified", limit) == (await read_measures(shop))[-1]


# ------------------------------------------------------------------- what the caller says


async def test_a_number_that_a_trusted_tenant_knows_is_exempt_within_the_same_bounds(
    local: Installation,
) -> None:
    """Its resend says nothing, and is exempt by the record that the issue has written."""
    shop = start_brake(local, floors={"range_sends": (1, 1)})
    shop.tenants["shop"] = msgspec.structs.replace(shop.tenants["shop"], trusts_known=True)
    await shop.issue(NEIGHBOR)
    issued = await shop.issue(NUMBER, known=True)
    for _ in range(2):
        await resend_later(shop, issued)
    shop.advance_clock(11 * MINUTE_MS)

    with pytest.raises(DebtLimited):
        await shop.issue(NUMBER, known=True)
    with pytest.raises(DebtLimited):
        await shop.issue("+447400123458", known=False)

    assert [("unverified", None)] + [("exempt", None)] * 3 == await read_measures(shop)
    assert (1, 0) == (await sum_debts(shop))["UnverifiedPerRange"]


async def test_a_failed_bot_check_is_refused_before_anything_is_charged(
    local: Installation,
) -> None:
    shop = start_brake(local)
    before = await read_books(shop)

    with pytest.raises(NumberNotAllowed) as refusal:
        await shop.issue(NUMBER, bot_check=BotCheck.FAILED, **CLIENT)

    assert "bot_check" == refusal.value.reason_code
    assert before == await read_books(shop)
    assert [] == shop.router.messages
    (denied,) = [e for e in await shop.read_events() if e["type"] == "otp.issue_denied"]
    assert "bot_check" == denied["reason"]


@pytest.mark.parametrize(
    ("result", "admitted"), [(BotCheck.PASSED, 4), (BotCheck.NONE, 2), (None, 2)]
)
async def test_a_passed_bot_check_admits_twice_as_many_messages(
    local: Installation, result: BotCheck | None, admitted: int
) -> None:
    shop = start_brake(local, floors=NARROW)

    answers = [
        (await gather_results(shop.issue(f"+44740012345{i}", bot_check=result)))[0]
        for i in range(6)
    ]

    assert admitted == sum(not isinstance(answer, Exception) for answer in answers)
    assert (admitted, 0) == (await sum_debts(shop))["SpendOverall"]
