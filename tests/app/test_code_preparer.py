"""Preparing codes in idle time: when, how fast, and never the same in two processes."""

import asyncio
import multiprocessing
import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from otp_service.app.application import Application
from otp_service.app.code_preparer import (
    FAILURE_PAUSE_SECONDS,
    IDLE_SECONDS,
    CodePreparer,
    compute_pause_seconds,
)
from otp_service.core.argon2_profile import TEST_PROFILE
from otp_service.core.ports import HashPriority
from otp_service.core.prepared_codes import HashedCode, PreparedCodes
from otp_service.core.random_source import RandomSource
from otp_service.hashing import (
    ARGON2_CFFI,
    ArgonPool,
    MeasuredEngine,
    compute_argon2id,
)
from otp_service.store.embedded import EmbeddedServer
from tests.app.test_application import settings_of


RANDOM_SOURCE = RandomSource(secrets.randbelow, os.urandom)

STOCK_SIZE = 50


class Preparation:
    """A preparer with its stock and a pool whose calls are recorded."""

    def __init__(self) -> None:
        self.stock = PreparedCodes(STOCK_SIZE, 6, TEST_PROFILE)
        self.pool = ArgonPool(MeasuredEngine(ARGON2_CFFI, 0.1), TEST_PROFILE, 1)
        self.preparer = CodePreparer(self.stock, self.pool, RANDOM_SOURCE, 6)

    async def fill(self) -> None:
        while not self.stock.is_full:
            await self.preparer.prepare_next()

    def take_all(self) -> list[HashedCode]:
        codes = []
        while reservation := self.stock.reserve(6, TEST_PROFILE):
            code = reservation.take()
            assert code
            codes.append(code)
        return codes


@pytest.fixture
def preparation() -> Iterator[Preparation]:
    preparation = Preparation()
    yield preparation
    preparation.pool.close()


async def test_a_prepared_code_has_its_length_its_own_salt_and_its_hash(
    preparation: Preparation,
) -> None:
    await preparation.fill()

    codes = preparation.take_all()
    assert STOCK_SIZE == len({code.salt for code in codes})
    for code in codes:
        assert 6 == len(code.code)
        assert code.code.isdecimal()
        assert compute_argon2id(TEST_PROFILE, code.code, code.salt) == code.argon2_hash


async def test_nothing_is_prepared_while_a_caller_needs_argon2(preparation: Preparation) -> None:
    """Verify or issue, whether it runs or waits. A preparation itself does not count."""
    for priority in (HashPriority.VERIFY, HashPriority.ISSUE):
        call = asyncio.create_task(
            preparation.pool.compute_argon2id("x", b"0" * 16, priority=priority)
        )
        await asyncio.sleep(0)
        assert IDLE_SECONDS == await preparation.preparer.prepare_next()
        assert 0 == len(preparation.stock)
        await call

    other = asyncio.create_task(
        preparation.pool.compute_argon2id("x", b"0" * 16, priority=HashPriority.PREPARATION)
    )
    await asyncio.sleep(0)
    await preparation.preparer.prepare_next()
    assert 1 == len(preparation.stock)
    await other


async def test_a_full_stock_prepares_nothing(
    preparation: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await preparation.fill()
    monkeypatch.setattr(preparation.pool, "compute_argon2id", None)

    assert IDLE_SECONDS == await preparation.preparer.prepare_next()


async def test_a_hash_that_fails_is_tried_again_much_later(
    preparation: Preparation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(preparation.pool, "compute_argon2id", fail)

    assert FAILURE_PAUSE_SECONDS == await preparation.preparer.prepare_next()
    assert 0 == len(preparation.stock)
    assert "no code could be prepared" in caplog.text


@pytest.mark.parametrize(
    ("elapsed_ms", "hash_ms", "seconds"),
    [
        (15, 15, 0.015),
        (30, 15, 0.06),
        (150, 15, 0.45),
        (10, 15, 0.01),
        (0.2, 0.0, 0.0002),
    ],
)
def test_the_slower_a_hash_is_the_longer_is_the_pause(
    elapsed_ms: float, hash_ms: float, seconds: float
) -> None:
    """Half of a thread on an idle machine; on a tenth of a core a quarter of it."""
    assert seconds == pytest.approx(compute_pause_seconds(elapsed_ms, hash_ms))


def fill_and_send(preparation: Preparation, pipe: Any) -> None:
    asyncio.run(preparation.fill())
    pipe.send([(code.code, code.salt) for code in preparation.take_all()])


def test_two_processes_never_have_the_same_code_and_salt() -> None:
    """Forks of one process, which have its memory: the stock is empty until they fill it."""
    fork, preparation, stocks = multiprocessing.get_context("fork"), Preparation(), []
    for _ in range(2):
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=fill_and_send, args=(preparation, sender))
        process.start()
        assert receiver.poll(30)
        stocks.append(receiver.recv())
        process.join(10)

    first, second = stocks
    assert STOCK_SIZE == len(first) == len(second)
    assert set(first).isdisjoint(second)
    assert {salt for _, salt in first}.isdisjoint({salt for _, salt in second})


async def test_codes_are_prepared_after_the_start_and_dropped_at_the_stop(
    server: EmbeddedServer, tmp_path: Any
) -> None:
    """SIGHUP replaces each worker by a new process, so a reload drops them as well."""
    application = Application(settings_of(server, tmp_path))
    await asyncio.sleep(2 * IDLE_SECONDS)
    assert 0 == len(application.prepared_codes)

    await application.start()
    async with asyncio.timeout(30):
        while len(application.prepared_codes) < 3:  # noqa: ASYNC110  # a job at intervals
            await asyncio.sleep(0.02)
    page = application.metrics.render_metrics()[0].decode()
    assert "otp_prepared_codes 0.0" not in page

    await application.stop()
    assert 0 == len(application.prepared_codes)
    assert "otp_prepared_codes 0.0" in application.metrics.render_metrics()[0].decode()


async def test_a_supervisor_prepares_no_codes(server: EmbeddedServer, tmp_path: Any) -> None:
    async with Application(settings_of(server, tmp_path), is_supervisor=True) as application:
        assert application.prepared_codes.is_full
        assert 0 == len(application.prepared_codes)
