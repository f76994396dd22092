"""Refunds wait in memory until the store answers: bounded in number and in time."""

import asyncio

import pytest

from otp_service.core.errors import RateLimited, StoreTampered, StoreUnavailable
from otp_service.service import pending_refunds
from otp_service.service.pending_refunds import PendingRefunds
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


class Outage:
    """A store that fails for a number of calls, and then applies refunds."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.applied: list[int] = []

    async def refund(self, number: int) -> None:
        """Apply the refund, or fail."""
        if self.failures > 0:
            self.failures -= 1
            raise StoreUnavailable
        self.applied.append(number)


async def test_every_refund_is_applied_once_after_an_outage() -> None:
    """In the order of the calls; one of them shows that the store answers."""
    refunds, outage = PendingRefunds(), Outage(100 + 2)
    for i in range(100):
        await refunds.apply(lambda i=i: outage.refund(i))  # type: ignore[misc]

    assert 100 == len(refunds)
    assert 0 == await refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert list(range(100)) == sorted(outage.applied)
    assert 0 == refunds.dropped_count


async def test_the_oldest_refunds_are_dropped_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R85: an outage under load costs a bounded amount of memory; the charges stay."""
    monkeypatch.setattr(pending_refunds, "MAX_PENDING_REFUNDS", 3)
    refunds, outage = PendingRefunds(), Outage(0)
    for i in range(5):
        refunds.apply_later(lambda i=i: outage.refund(i))  # type: ignore[misc]

    assert 0 == await refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert ([2, 3, 4], 2) == (sorted(outage.applied), refunds.dropped_count)


async def test_a_refund_is_given_up_before_the_record_of_its_charge_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Design 4: without the record, the charge stays."""
    monkeypatch.setattr(pending_refunds, "MAX_REFUND_WAIT_SECONDS", 0.3)
    refunds, outage = PendingRefunds(), Outage(10**9)
    await refunds.apply(lambda: outage.refund(1))

    assert 0 == await refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert ([], 1) == (outage.applied, refunds.dropped_count)


async def test_a_refund_that_always_fails_keeps_no_other_waiting() -> None:
    """Its record is unreadable, or its partition is that of a master which is away."""
    refunds, broken, outage = PendingRefunds(), Outage(10**9), Outage(0)
    refunds.apply_later(lambda: broken.refund(0))
    for i in range(1, 40):
        refunds.apply_later(lambda i=i: outage.refund(i))  # type: ignore[misc]

    assert 1 == await refunds.drain(2)

    assert 39 == len(outage.applied)


async def test_a_refund_of_a_forged_record_is_dropped() -> None:
    """R9: a wrong MAC does not become right; the call has recorded it."""
    refunds = PendingRefunds()

    async def fail() -> None:
        raise StoreTampered

    refunds.apply_later(fail)

    assert (0, 1) == (await refunds.drain(5), refunds.dropped_count)


async def test_a_stop_waits_for_refunds_and_reports_what_is_left() -> None:
    """A worker that ends during an outage does not hang."""
    refunds, outage = PendingRefunds(), Outage(10**9)
    await refunds.apply(lambda: outage.refund(1))

    async with asyncio.timeout(2):
        assert 1 == await refunds.drain(0.5)

    assert 0 == await PendingRefunds().drain(0.5)


async def test_a_stop_counts_the_refunds_that_wait_for_an_answer() -> None:
    """Whether they were applied is unknown, so they are reported, and tried again if it goes on."""
    refunds, asked, never = PendingRefunds(), asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        asked.set()
        await never.wait()

    for _ in range(2):
        refunds.apply_later(ask)
    await asked.wait()

    assert 2 == await refunds.drain(0)


async def test_a_refund_with_a_bug_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and its charge stays."""
    refunds, outage = PendingRefunds(), Outage(0)

    async def fail() -> None:
        raise ValueError

    refunds.apply_later(fail)
    refunds.apply_later(lambda: outage.refund(1))

    assert 0 == await refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert ([1], 1) == (outage.applied, refunds.dropped_count)
    assert "a refund failed" in caplog.text


async def test_a_refusal_is_not_an_outage() -> None:
    """What a limit refused was refunded by the call itself."""
    refunds, outage = PendingRefunds(), Outage(0)

    with pytest.raises(RateLimited):
        async with refunds.refund_if_unavailable(lambda: outage.refund(1)):
            raise RateLimited("x", retry_after=1, quota=1, period_seconds=1)

    assert (0, []) == (len(refunds), outage.applied)
