"""R31: which sends the risk service is asked about, and what its answer does to each."""

import asyncio
from collections import deque
from typing import Any

import msgspec
import pytest

from otp_service.core.errors import NumberNotAllowed, RateLimited
from otp_service.core.risk import RiskAnswer, RiskAssessment, RiskQuery
from otp_service.service.pending_refunds import MAX_REFUND_WAIT_SECONDS
from tests.installation import MINUTE_MS, SECOND_MS, Installation, gather_results
from tests.service.test_auto_resend import report_failure
from tests.service.test_commit_guards import lose_replicas


NUMBER = "+447400123456"
PERSON: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9"}
"""With these members, every bucket takes part."""

ALLOWED = RiskAssessment(RiskAnswer.ALLOW, "clean")
REFUSED = RiskAssessment(RiskAnswer.REFUSE, "sim_swap", is_refusal=True)
UNKNOWN = RiskAssessment(RiskAnswer.UNKNOWN_NUMBER, "ported")
FAILED_OPEN = RiskAssessment(RiskAnswer.FAILED, "timeout")
FAILED_CLOSED = RiskAssessment(RiskAnswer.FAILED, "timeout", is_refusal=True)


class FakeRiskService:
    """Returns the assessments that a test has queued, and then ALLOWED."""

    def __init__(self) -> None:
        self.queries: list[RiskQuery] = []
        self.queued: deque[RiskAssessment] = deque()
        self.entered, self.is_released = asyncio.Event(), asyncio.Event()
        self.is_released.set()

    async def assess(self, query: RiskQuery) -> RiskAssessment:
        self.queries.append(query)
        self.entered.set()
        await self.is_released.wait()
        return self.queued.popleft() if self.queued else ALLOWED


@pytest.fixture
def risk() -> FakeRiskService:
    return FakeRiskService()


@pytest.fixture
def asked(installation: Installation, risk: FakeRiskService) -> Installation:
    """Return an installation that asks the risk service."""
    return installation.restart(risk_service=risk)


async def read_risk_events(installation: Installation) -> list[tuple[str, str, str, str]]:
    """Return type, reason, answer and reason of the service of each event that has an answer."""
    return [
        (event["type"], event.get("reason", ""), event["risk_answer"], event.get("risk_reason", ""))
        for event in await installation.read_events()
        if "risk_answer" in event
    ]


async def list_buckets(installation: Installation) -> list[bytes]:
    return await installation.list_keys("*:limit:*")


async def test_every_send_is_asked_about_once(asked: Installation, risk: FakeRiskService) -> None:
    """An issue, a resend, an auto-resend after a lost message, and a delivery."""
    issued = await asked.issue(NUMBER, **PERSON)
    asked.advance_clock(MINUTE_MS)
    await asked.resend(issued)
    asked.advance_clock(MINUTE_MS)
    assert await report_failure(asked, issued, send=2)
    await asked.deliver(number="+447400123457", **PERSON)

    assert ["issue", "resend", "auto-resend", "deliver"] == [each.call for each in risk.queries]
    assert {(NUMBER, "shop", "login", "u-81", "203.0.113.9")} == {
        (each.phone.e164, each.tenant, each.purpose, each.account, each.client_ip)
        for each in risk.queries[:3]
    }
    assert [
        ("otp.issued", "", "allow", "clean"),
        ("otp.resent", "", "allow", "clean"),
        ("otp.resent", "delivery_failed", "allow", "clean"),
        ("delivery.created", "", "allow", "clean"),
    ] == await read_risk_events(asked)


async def test_no_question_contains_a_code(asked: Installation, risk: FakeRiskService) -> None:
    """R68: neither one of ours, which is drawn later, nor that of another product."""
    issued = await asked.issue(**PERSON)
    asked.advance_clock(MINUTE_MS)
    await asked.resend(issued)
    await asked.deliver("90817263", "+447400123457")

    questions = msgspec.json.encode(risk.queries).decode()
    codes = [asked.router.extract_code(0), asked.router.extract_code(1), "90817263"]
    assert [] == [code for code in codes if code in questions]
    assert 3 == len(risk.queries)


async def test_a_refusal_is_remembered_for_as_long_as_its_refund_is_tried_again(
    asked: Installation, risk: FakeRiskService
) -> None:
    """R79: the event was appended again when no replica answered for more than a minute.

    A live run of the simulation found it (docs/simulation.md): the same event, a minute later.
    """
    risk.queued.append(REFUSED)
    with pytest.raises(NumberNotAllowed):
        await asked.issue(NUMBER, **PERSON)

    left_ms = [
        await asked.script_client.run_pipeline(key.decode(), [("PTTL", key)])
        for key in await asked.list_keys("*:operation:undo-*")
    ]
    # That of the number has the event; the refunds of what all share have none.
    assert max(left_ms)[0] > MAX_REFUND_WAIT_SECONDS * SECOND_MS


@pytest.mark.parametrize("answer", [REFUSED, FAILED_CLOSED])
async def test_a_refused_issue_costs_nothing_and_leaves_nothing(
    asked: Installation, risk: FakeRiskService, answer: RiskAssessment
) -> None:
    """Every bucket is as before, and so the next call is not refused by the cooldown."""
    before = await list_buckets(asked)
    risk.queued.append(answer)

    with pytest.raises(NumberNotAllowed) as refusal:
        await asked.issue(NUMBER, **PERSON)

    assert "risk" == refusal.value.reason_code
    assert str(answer.reason) not in str(
        refusal.value
    )  # the caller does not get the service's reason
    assert ([], 0) == (asked.router.messages, asked.hasher.hash_count)
    assert before == await list_buckets(asked)
    assert [] == await asked.list_keys("*:challenge:*")
    assert [
        ("otp.issue_denied", "risk", answer.answer.value, answer.reason)
    ] == await read_risk_events(asked)
    await asked.issue(NUMBER, **PERSON)
    assert 1 == len(asked.router.messages)


@pytest.mark.parametrize("answer", [REFUSED, FAILED_CLOSED])
async def test_a_refused_delivery_costs_nothing(
    asked: Installation, risk: FakeRiskService, answer: RiskAssessment
) -> None:
    """As an issue, with the event of a delivery."""
    before = await list_buckets(asked)
    risk.queued.append(answer)

    with pytest.raises(NumberNotAllowed):
        await asked.deliver(number=NUMBER, **PERSON)

    assert [] == asked.router.messages
    assert before == await list_buckets(asked)
    assert [
        ("delivery.denied", "risk", answer.answer.value, answer.reason)
    ] == await read_risk_events(asked)
    await asked.deliver(number=NUMBER, **PERSON)


@pytest.mark.parametrize("answer", [UNKNOWN, FAILED_OPEN])
async def test_other_answers_send_and_are_recorded(
    asked: Installation, risk: FakeRiskService, answer: RiskAssessment
) -> None:
    risk.queued.append(answer)

    await asked.issue(NUMBER)

    assert 1 == len(asked.router.messages)
    assert [("otp.issued", "", answer.answer.value, answer.reason)] == await read_risk_events(asked)


async def test_a_refused_resend_leaves_the_first_code_valid(
    asked: Installation, risk: FakeRiskService
) -> None:
    """It uses up no send of the challenge."""
    issued = await asked.issue(NUMBER)
    asked.advance_clock(MINUTE_MS)
    risk.queued.append(REFUSED)

    with pytest.raises(NumberNotAllowed):
        await asked.resend(issued)

    assert ("otp.issue_denied", "risk", "refuse", "sim_swap") in await read_risk_events(asked)
    stored = await asked.store.fetch_challenge("shop", asked.get_challenge_id(issued))
    assert 1 == stored.require_challenge().sends
    first = asked.router.extract_code()
    await asked.resend(issued)  # the cooldown was refunded
    await asked.verify(issued, first)


async def test_a_refused_auto_resend_sends_nothing(
    asked: Installation, risk: FakeRiskService
) -> None:
    """The limit on auto-resends is not used up."""
    issued = await asked.issue(NUMBER)
    asked.advance_clock(MINUTE_MS)
    risk.queued.append(REFUSED)

    assert not await report_failure(asked, issued)

    assert 1 == len(asked.router.messages)
    assert ("otp.issue_denied", "risk", "refuse", "sim_swap") in await read_risk_events(asked)


async def test_a_call_that_a_limit_refuses_asks_nothing(
    asked: Installation, risk: FakeRiskService
) -> None:
    """So the limits bound the questions, which may cost money."""
    await asked.issue(NUMBER)

    for _ in range(5):
        with pytest.raises(RateLimited):
            await asked.issue(NUMBER)

    assert 1 == len(risk.queries)


async def test_calls_for_one_number_at_once_ask_once(
    asked: Installation, risk: FakeRiskService
) -> None:
    """A15: the charges come before the question, so that a slow service admits no second call."""
    risk.is_released.clear()
    first = asyncio.create_task(asked.issue(NUMBER))
    await risk.entered.wait()
    answers = await gather_results(*(asked.issue(NUMBER) for _ in range(20)))
    risk.is_released.set()
    await first

    assert 20 == sum(isinstance(answer, RateLimited) for answer in answers)
    assert (1, 1) == (len(risk.queries), len(asked.router.messages))


async def test_a_number_that_is_not_allowed_is_not_asked_about(
    asked: Installation, risk: FakeRiskService
) -> None:
    """A landline is refused before anything is charged."""
    with pytest.raises(NumberNotAllowed):
        await asked.issue("+442079460000")

    assert [] == risk.queries


async def test_a_repeat_under_its_key_is_not_asked_about(
    asked: Installation, risk: FakeRiskService
) -> None:
    """R57: it sends nothing."""
    await asked.issue(NUMBER, key="k-1")
    await asked.issue(NUMBER, key="k-1")

    assert 1 == len(risk.queries)


async def test_a_refused_key_can_be_used_again(asked: Installation, risk: FakeRiskService) -> None:
    """The repeat asks again."""
    risk.queued.append(REFUSED)

    with pytest.raises(NumberNotAllowed):
        await asked.issue(NUMBER, key="k-1")
    await asked.issue(NUMBER, key="k-1")

    assert (2, 1) == (len(risk.queries), len(asked.router.messages))


async def test_a_tenant_without_the_check_is_not_asked_about(
    asked: Installation, risk: FakeRiskService
) -> None:
    """The other tenant still is."""
    asked.tenants["bank"] = msgspec.structs.replace(asked.tenants["bank"], has_risk_check=False)

    await asked.issue(NUMBER, tenant="bank")
    await asked.issue("+447400123457", tenant="shop")

    assert ["shop"] == [query.tenant for query in risk.queries]
    assert 1 == len(await read_risk_events(asked))


async def test_the_slots_are_free_after_a_refusal(
    asked: Installation, risk: FakeRiskService
) -> None:
    """Of sending and of argon2."""
    risk.queued.append(REFUSED)

    with pytest.raises(NumberNotAllowed):
        await asked.issue(NUMBER)

    assert (0, 0) == (asked.dependencies.send_slots.in_use, asked.dependencies.hash_slots.in_use)


async def test_a_refusal_during_an_outage_is_refunded_after_it(
    asked: Installation, risk: FakeRiskService
) -> None:
    """R79: until replicas have the refund, it is repeated; nothing is sent meanwhile."""
    before = await list_buckets(asked)
    risk.is_released.clear()
    risk.queued.append(REFUSED)
    call = asyncio.create_task(asked.issue(NUMBER, **PERSON))
    await risk.entered.wait()
    lose_replicas(asked)
    risk.is_released.set()
    with pytest.raises(NumberNotAllowed):
        await call
    asked.store.client = asked.script_client
    await asked.dependencies.refunds.drain(5)

    assert [] == asked.router.messages
    assert before == await list_buckets(asked)
