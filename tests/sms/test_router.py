"""How the router walks its providers."""

import asyncio
import itertools
import logging
import time
from itertools import takewhile

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused, Submission
from otp_service.core.phone_number import PhoneNumber
from otp_service.sms.provider_health import HealthEvent, ProviderHealth
from otp_service.sms.router import (
    LocalProviderHealth,
    ProviderRouter,
    RouterEnvironment,
    health_event_from_receipt,
)
from otp_service.sms.routes import Routes


NOW = 1_795_348_800_000
ACCEPTED = Accepted("m-1")
PROVIDER = Refused(Fault.PROVIDER, "20003")
UNKNOWN = Refused(Fault.UNKNOWN, "read-timeout")
RECIPIENT = Refused(Fault.RECIPIENT, "21211")


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Fake:
    """A provider that answers, raises, or does what it is given, and keeps what it was sent."""

    def __init__(self, name, answer):
        self.name = name
        self.sent = []
        self.was_asked = asyncio.Event()
        self.closed = False
        self._answer = answer

    async def send(self, message):
        self.sent.append(message)
        self.was_asked.set()
        if isinstance(self._answer, Exception):
            raise self._answer
        return await self._answer() if callable(self._answer) else self._answer

    async def aclose(self):
        self.closed = True


def router(*answers, route=None, routes=None, memory=None, **more):
    """A router over providers a, b, c… that answer so; what is not of the router is the world's."""
    fakes = [Fake(name, answer) for name, answer in zip("abcdefgh", answers, strict=False)]
    world = {
        "clock": time.monotonic,
        "now": lambda: NOW,
        "random_float": lambda: 0.5,
        "pseudonymize": lambda number: f"p-{number[-2:]}",
    }
    world |= {name: more.pop(name) for name in [*more] if name in {*world, "build_callback_url"}}
    table = Routes(route or tuple(fake.name for fake in fakes), routes or {})
    made = ProviderRouter(
        fakes,
        table,
        memory or LocalProviderHealth(),
        environment=RouterEnvironment(**world),
        **more,
    )
    return made, fakes


def outcomes(submissions):
    """Who, what, whose fault and why."""
    return [(s.provider, s.outcome, s.fault, s.reason) for s in submissions]


async def test_first_provider_that_accepts_ends_the_send(message):
    """No other provider is tried: one send, one message (R26)."""
    chain, (_, second) = router(ACCEPTED, ACCEPTED)

    (made,) = await chain.send(message)

    assert ("a", "accepted", None, "m-1") == (
        made.provider,
        made.outcome,
        made.fault,
        made.message_id,
    )
    assert [] == second.sent


@pytest.mark.parametrize(("first", "outcome"), [(PROVIDER, "refused"), (UNKNOWN, "unknown")])
async def test_next_provider_gets_the_same_message(message, first, outcome):
    """After "not sent" and after "perhaps sent" alike, with the same code in it (R88, R89)."""
    chain, (_, second) = router(first, ACCEPTED)

    made = await chain.send(message)

    assert [("a", outcome, first.fault, first.reason), ("b", "accepted", None, None)] == outcomes(
        made
    )
    assert [message.for_submission(2)] == second.sent
    assert [1, 2] == [each.ordinal for each in made]


async def test_each_provider_gets_the_address_for_receipts_of_its_submission(message):
    """The address names the submission, so that one's token is no other's (R64)."""
    chain, (first, second) = router(
        PROVIDER,
        ACCEPTED,
        build_callback_url=lambda name, reference: f"https://otp.example/{name}?{reference}",
    )

    await chain.send(message)

    assert ["https://otp.example/a?ref-3f9.1"] == [each.callback_url for each in first.sent]
    assert ["https://otp.example/b?ref-3f9.2"] == [each.callback_url for each in second.sent]


async def test_recipients_fault_ends_the_send(message):
    """Every provider would refuse the number; going around a fraud block defeats it."""
    chain, (*_, last) = router(PROVIDER, RECIPIENT, ACCEPTED)

    made = await chain.send(message)

    assert [Fault.PROVIDER, Fault.RECIPIENT] == [each.fault for each in made]
    assert [] == last.sent


async def test_no_more_than_three_submissions(message):
    """A chain of five does not turn one send into five messages (R26)."""
    chain, fakes = router(*[UNKNOWN] * 5)

    assert 3 == len(await chain.send(message))
    assert [1, 1, 1, 0, 0] == [len(fake.sent) for fake in fakes]


async def test_deadline_holds_when_a_provider_hangs(message):
    """It may have been sent; the caller gets its answer in time (R87; waits for 50 ms)."""
    chain, (_, second) = router(asyncio.Event().wait, ACCEPTED, deadline_seconds=0.05)
    began = time.monotonic()

    made = await chain.send(message)

    assert [("a", "unknown", Fault.UNKNOWN, "deadline")] == outcomes(made)
    assert time.monotonic() - began < 1
    assert [] == second.sent


async def test_next_provider_has_what_is_left_of_the_deadline(message):
    """The deadline is one for all of them (waits for 150 ms)."""
    clock = Clock()

    async def slow():
        clock.now += 7.85
        return UNKNOWN

    chain, _ = router(slow, asyncio.Event().wait, ACCEPTED, clock=clock)

    made = await asyncio.wait_for(chain.send(message), timeout=2)

    assert ["read-timeout", "deadline"] == [each.reason for each in made[:2]]


async def test_no_provider_is_tried_when_there_is_no_time_left_to_answer(message):
    """Its silence after 50 ms would be ours, and would open its breaker."""
    clock = Clock()

    async def slow():
        clock.now += 7.95
        return UNKNOWN

    chain, (_, second) = router(slow, ACCEPTED, clock=clock)

    made = await chain.send(message)

    assert ["read-timeout"] == [each.reason for each in made]
    assert [] == second.sent


async def test_no_provider_is_tried_after_the_deadline(message):
    """A provider that answers late leaves no time for the next."""
    clock = Clock()

    async def late():
        clock.now += 8
        return PROVIDER

    chain, (_, second) = router(late, ACCEPTED, clock=clock)

    assert [("a", "refused", Fault.PROVIDER, "20003")] == outcomes(await chain.send(message))
    assert [] == second.sent


async def test_times_come_from_the_clock(message):
    """When each began, counted from the start of the send, and how long it took."""
    clock = Clock()

    async def takes(seconds, reply):
        clock.now += seconds
        return reply

    chain, _ = router(lambda: takes(0.25, PROVIDER), lambda: takes(1.5, ACCEPTED), clock=clock)

    made = await chain.send(message)

    assert [(0, 250), (250, 1500)] == [(each.at, each.milliseconds) for each in made]


@pytest.mark.parametrize("error", [ValueError, TimeoutError, KeyError, RecursionError, OSError])
async def test_exception_of_a_provider_is_unknown(message, caplog, error):
    """It does not end the chain, and the log has its name without its text (R68)."""
    caplog.set_level(logging.DEBUG)
    chain, _ = router(error("864209 for +447400123456"), ACCEPTED)

    made = await chain.send(message)

    assert ("a", "unknown", Fault.UNKNOWN, "internal") == outcomes(made)[0]
    assert "accepted" == made[1].outcome
    assert f"provider a raised {error.__name__}" in caplog.text
    assert "864209" not in caplog.text
    assert "7400123456" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_cancellation_goes_through(message):
    """A caller that cancels the send is not held by it."""
    chain, (first, second) = router(asyncio.Event().wait, ACCEPTED)
    sending = asyncio.create_task(chain.send(message))
    await first.was_asked.wait()

    sending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sending
    assert [] == second.sent


async def test_one_provider_can_be_tried_alone(message):
    """For `send-test`: that one and no other."""
    chain, (first, _) = router(ACCEPTED, PROVIDER)

    made = await chain.send_via("b", message)

    assert [("b", "refused", Fault.PROVIDER, "20003")] == outcomes([made])
    assert [] == first.sent
    with pytest.raises(LookupError, match="no SMS provider is called 'z'"):
        await chain.send_via("z", message)


async def test_close_closes_every_provider():
    """Also those that were never asked."""
    chain, fakes = router(ACCEPTED, ACCEPTED)

    await chain.aclose()

    assert all(fake.closed for fake in fakes)
    assert ("a", "b") == chain.provider_names


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([ACCEPTED, PROVIDER, UNKNOWN, RECIPIENT]), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_send_is_the_shortest_walk_to_an_end(message, replies, most):
    """For every chain: all that go on, and the first that ends it, up to the cap (R26, R88)."""
    chain, _ = router(*replies, max_submissions=most)
    before = list(takewhile(lambda each: each in (PROVIDER, UNKNOWN), replies))
    expected = replies[: len(before) + 1][:most]

    made = asyncio.run(chain.send(message))

    assert [getattr(each, "reason", None) for each in expected] == [each.reason for each in made]


SILENT = Refused(Fault.UNKNOWN, "read-timeout", scope=RefusalScope.SILENCE)
LATER = Refused(Fault.PROVIDER, "20429", 17, RefusalScope.THROTTLED)


async def test_a_destination_has_its_own_way(message):
    """The longest beginning of the number, then its country, then the default."""
    for routes, first in (
        ({}, "a"),
        ({"GB": ("b",)}, "b"),
        ({"GB": ("b",), "+4474": ("c",)}, "c"),
        ({"+44740": ("b",), "+4474": ("c",)}, "b"),
        ({"FR": ("b",), "+33": ("c",)}, "a"),
    ):
        chain, _ = router(ACCEPTED, ACCEPTED, ACCEPTED, route=("a",), routes=routes)

        (made,) = await chain.send(message)

        assert first == made.provider


async def test_shares_are_kept_and_every_provider_is_in_the_list(message):
    """Who is not drawn first is tried next (R88)."""
    chances = itertools.cycle([n / 97 for n in range(97)])
    chain, fakes = router(
        PROVIDER, ACCEPTED, route={"a": 70, "b": 30}, random_float=lambda: next(chances)
    )
    for number in range(300):
        to = PhoneNumber(f"+447400{number:06d}", "GB", 44)
        made = await chain.send(msgspec.structs.replace(message, to=to))
        assert "b" == made[-1].provider
        chain._health.health = ProviderHealth()

    assert 0.6 < len(fakes[0].sent) / 300 < 0.8


async def test_a_provider_that_is_silent_is_tried_last_and_is_not_forgotten(message):
    """R87: after five of ten its breaker is open; it is asked when all others have failed."""
    memory = LocalProviderHealth()
    chain, (first, _) = router(SILENT, ACCEPTED, memory=memory)
    for _ in range(5):
        assert 2 == len(await chain.send(message))

    assert ["b"] == [one.provider for one in await chain.send(message)]

    assert 5 == len(first.sent)
    chain, _ = router(ACCEPTED, PROVIDER, memory=memory)
    assert ["b", "a"] == [one.provider for one in await chain.send(message)]


async def test_a_breaker_is_of_one_country(message):
    """An outage in one country takes nothing from the others."""
    chain, (first, _) = router(SILENT, ACCEPTED)
    for _ in range(5):
        await chain.send(message)
    elsewhere = msgspec.structs.replace(message, to=PhoneNumber("+33612345678", "FR", 33))

    await chain.send(elsewhere)

    assert "+33612345678" == first.sent[-1].to.e164


async def test_who_is_throttled_rests_for_what_it_asked(message):
    """R90: the next one at once, and this one again when its time is over."""
    clock = [NOW]
    chain, (first, _) = router(LATER, ACCEPTED, now=lambda: clock[0])
    await chain.send(message)

    for after, asked in ((16_999, 1), (17_000, 2)):
        clock[0] = NOW + after
        await chain.send(message)
        assert asked == len(first.sent)


@pytest.mark.parametrize("refusal", [PROVIDER, RECIPIENT])
async def test_fifty_numbers_that_everybody_refuses_cost_the_next_one_nothing(message, refusal):
    """A handful of bad numbers cannot open a country's breakers."""
    memory = LocalProviderHealth()
    chain, _ = router(refusal, refusal, memory=memory)
    for number in range(50):
        bad = PhoneNumber(f"+4474001234{number:02d}", "GB", 44)
        await chain.send(msgspec.structs.replace(message, to=bad))

    # If both were open, they would keep their configured order.
    assert {"closed"} == {memory.health.get_breaker_state(name, "GB", NOW) for name in ("a", "b")}
    chain, (first, second) = router(ACCEPTED, ACCEPTED, memory=memory)
    await chain.send(message)

    assert (1, 0) == (len(first.sent), len(second.sent))


async def test_one_number_that_one_provider_refuses_counts_once(message):
    """The same number again and again says the same thing again (ten minutes)."""
    memory = LocalProviderHealth()
    chain, _ = router(PROVIDER, ACCEPTED, memory=memory)
    for _ in range(20):
        await chain.send(message)

    assert "closed" == memory.health.get_breaker_state("a", "GB", NOW)
    for number in range(5):
        other = PhoneNumber(f"+4474001234{number:02d}", "GB", 44)
        await chain.send(msgspec.structs.replace(message, to=other))
    assert "open" == memory.health.get_breaker_state("a", "GB", NOW)


def test_trusted_receipts_move_shares_and_never_below_a_tenth():
    """Away from who loses messages, slowly; one number moves it once an hour."""
    memory = LocalProviderHealth()
    chain, _ = router(ACCEPTED, ACCEPTED, route={"a": 50, "b": 50}, memory=memory)
    made = Submission("a", "accepted", None, None, NOW, 1)
    lost = Receipt("technical-failure")

    chain.record_receipt(made, lost, "GB", "one")
    once = memory.health.compute_weight("a", 50, NOW)
    chain.record_receipt(made, lost, "GB", "one")

    assert once == memory.health.compute_weight("a", 50, NOW) < 50
    for number in range(500):
        chain.record_receipt(made, lost, "GB", f"{number}")
    assert 5 == pytest.approx(memory.health.compute_weight("a", 50, NOW))
    assert 50 == memory.health.compute_weight("b", 50, NOW)


@pytest.mark.parametrize(
    ("said", "late", "good"),
    [
        ("delivered", 1, 1.0),
        ("delivered", 30_001, 0.5),
        ("technical-failure", 1, 0.0),
        ("permanent-failure", 1, None),
        ("pending", 1, None),
    ],
)
def test_what_a_receipt_says_of_its_provider(said, late, good):
    """Late is half as bad as never; the number's own fault says nothing."""
    heard = health_event_from_receipt(Receipt(said), "a", "GB", "one", late, NOW)

    told = HealthEvent("a", "GB", NOW, "receipt", "one", score=good) if good is not None else None
    assert told == heard


def to_number(message, last):
    """The message to another number of the same country."""
    return msgspec.structs.replace(
        message, to=PhoneNumber(f"+4474001234{last:02}", message.to.country, 44)
    )


async def refuse_numbers(chain, message, count, start=10):
    """Send to so many different numbers; return all submissions of each."""
    return [await chain.send(to_number(message, start + each)) for each in range(count)]


async def test_provider_that_refuses_every_number_is_not_believed(message, caplog):
    """A wrong sender makes each login a "bad number": from the fifth on the next one is asked."""
    chain, (_, second) = router(RECIPIENT, ACCEPTED)

    sends = await refuse_numbers(chain, message, 6)

    assert [1, 1, 1, 1, 2, 2] == [len(each) for each in sends]
    assert [
        ("a", "refused", Fault.PROVIDER, "21211"),
        ("b", "accepted", None, None),
    ] == outcomes(sends[4])
    assert RefusalScope.ACCOUNT is sends[4][0].scope
    assert 2 == len(second.sent)
    assert "provider a calls every number in GB unreachable" in caplog.text
    assert "7400" not in caplog.text


async def test_one_accepted_message_ends_the_run(message):
    """Bad numbers among good ones are bad numbers."""
    answers = itertools.cycle([*[RECIPIENT] * 4, ACCEPTED])

    async def answer():
        return next(answers)

    chain, (_, second) = router(answer, ACCEPTED)

    await refuse_numbers(chain, message, 25)

    assert [] == second.sent


async def test_one_number_refused_again_and_again_is_believed(message):
    """A person who tries ten times proves nothing about the provider."""
    chain, (_, second) = router(RECIPIENT, ACCEPTED)

    sends = [await chain.send(to_number(message, 10)) for _ in range(10)]

    assert [] == second.sent
    assert {Fault.RECIPIENT} == {each[-1].fault for each in sends}


async def test_run_is_of_one_country(message):
    """A sender may be wrong in one country alone."""
    chain, (_, second) = router(RECIPIENT, ACCEPTED)
    await refuse_numbers(chain, message, 6)
    french = msgspec.structs.replace(message, to=PhoneNumber("+33612345678", "FR", 33))

    (submission,) = await chain.send(french)

    assert Fault.RECIPIENT is submission.fault
    assert 2 == len(second.sent)


async def test_fraud_blocks_are_believed_however_many(message):
    """An attacker can make any number of them, and another provider would evade them."""
    blocked = Refused(Fault.RECIPIENT, "30450", scope=RefusalScope.BLOCKED)
    chain, (_, second) = router(blocked, ACCEPTED)

    sends = await refuse_numbers(chain, message, 20)

    assert [] == second.sent
    assert {Fault.RECIPIENT} == {each[-1].fault for each in sends}


async def test_two_providers_that_agree_are_believed(message):
    """A list of invalid numbers is refused by all: the number is what is wrong."""
    chain, _ = router(RECIPIENT, RECIPIENT, ACCEPTED)

    sends = await refuse_numbers(chain, message, 10)

    assert {Fault.RECIPIENT} == {each[-1].fault for each in sends}
    assert 2 == len(sends[-1])


async def test_alone_it_is_a_failed_delivery(message):
    """Without another provider nobody is told that the number is bad: 502, and a refund."""
    chain, _ = router(RECIPIENT)

    sends = await refuse_numbers(chain, message, 5)

    assert [Fault.RECIPIENT] * 4 + [Fault.PROVIDER] == [each[-1].fault for each in sends]


async def test_old_refusals_are_forgotten(message):
    """A bad number a day says nothing."""
    now = NOW
    chain, (_, second) = router(RECIPIENT, ACCEPTED, now=lambda: now)

    for each in range(10):
        await chain.send(to_number(message, 10 + each))
        now += 25 * 3600 * 1000

    assert [] == second.sent


async def test_the_run_is_shared_with_other_processes(message):
    """Each process sees a part of the refusals; together they are a run."""
    first, second = LocalProviderHealth(), LocalProviderHealth()
    chain, _ = router(RECIPIENT, ACCEPTED, memory=first)
    await refuse_numbers(chain, message, 4)
    shared, _ = ProviderHealth().apply_events(first.unshared_events)
    shared = msgspec.msgpack.decode(msgspec.msgpack.encode(shared), type=ProviderHealth)
    second.merge_shared_health(shared, 0)
    other_chain, (_, next_one) = router(RECIPIENT, ACCEPTED, memory=second)

    await refuse_numbers(other_chain, message, 1, start=50)

    assert 1 == len(next_one.sent)
