"""How the router walks its providers."""

import asyncio
import logging
import time
from itertools import takewhile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.core.delivery import Accepted, Fault, Refused
from otp_service.sms.router import Router


ACCEPTED = Accepted("m-1")
PROVIDER = Refused(Fault.PROVIDER, "20003")
UNKNOWN = Refused(Fault.UNKNOWN, "read-timeout")
RECIPIENT = Refused(Fault.RECIPIENT, "21211")


class Clock:
    """A monotonic clock that moves when it is told to."""

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


def router(*answers, clock=time.monotonic, **more):
    """A router over providers a, b, c… that answer so."""
    fakes = [Fake(name, answer) for name, answer in zip("abcdefgh", answers, strict=False)]
    return Router(fakes, clock=clock, **more), fakes


def outcomes(submissions):
    """Who, what, whose fault and why."""
    return [(s.provider, s.outcome, s.fault, s.reason) for s in submissions]


async def test_first_provider_that_accepts_ends_the_send(message):
    """Nobody else is asked: one send, one message (R26)."""
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
    assert [message.at(2)] == second.sent
    assert [1, 2] == [each.place for each in made]


async def test_each_provider_is_told_where_to_bring_the_receipts_of_its_submission(message):
    """The address names the submission, so that one's token is no other's (R64)."""
    chain, (first, second) = router(
        PROVIDER,
        ACCEPTED,
        address=lambda name, reference: f"https://otp.example/{name}?{reference}",
    )

    await chain.send(message)

    assert ["https://otp.example/a?ref-3f9.1"] == [each.callback for each in first.sent]
    assert ["https://otp.example/b?ref-3f9.2"] == [each.callback for each in second.sent]


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
    chain, (_, second) = router(asyncio.Event().wait, ACCEPTED, deadline=0.05)
    began = time.monotonic()

    made = await chain.send(message)

    assert [("a", "unknown", Fault.UNKNOWN, "deadline")] == outcomes(made)
    assert time.monotonic() - began < 1
    assert [] == second.sent


async def test_next_provider_has_what_is_left_of_the_deadline(message):
    """The deadline is one for all of them (waits for 50 ms)."""
    clock = Clock()

    async def slow():
        clock.now += 7.95
        return UNKNOWN

    chain, _ = router(slow, asyncio.Event().wait, ACCEPTED, clock=clock)

    made = await asyncio.wait_for(chain.send(message), timeout=2)

    assert ["read-timeout", "deadline"] == [each.reason for each in made[:2]]


async def test_nobody_is_asked_after_the_deadline(message):
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
    """Whoever gives the send up is not held by it."""
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

    made = await chain.submit_one("b", message)

    assert [("b", "refused", Fault.PROVIDER, "20003")] == outcomes([made])
    assert [] == first.sent
    with pytest.raises(LookupError, match="no SMS provider is called 'z'"):
        await chain.submit_one("z", message)


async def test_close_closes_every_provider():
    """Also those that were never asked."""
    chain, fakes = router(ACCEPTED, ACCEPTED)

    await chain.aclose()

    assert all(fake.closed for fake in fakes)
    assert ("a", "b") == chain.names


@pytest.mark.parametrize("names", ["", "aba"])
def test_chain_has_to_name_each_provider_once(names):
    """Without a provider a code would go nowhere, silently."""
    with pytest.raises(ValueError, match="at least one SMS provider"):
        Router([Fake(name, ACCEPTED) for name in names], clock=time.monotonic)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([ACCEPTED, PROVIDER, UNKNOWN, RECIPIENT]), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_send_is_the_shortest_walk_to_an_end(message, replies, most):
    """For every chain: all that go on, and the first that ends it, up to the cap (R26, R88)."""
    chain, _ = router(*replies, most=most)
    before = list(takewhile(lambda each: each in (PROVIDER, UNKNOWN), replies))
    expected = replies[: len(before) + 1][:most]

    made = asyncio.run(chain.send(message))

    assert [getattr(each, "reason", None) for each in expected] == [each.reason for each in made]
