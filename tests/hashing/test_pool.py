"""argon2id in threads: with which parameters, in which order, and for which callers."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from otp_service.core.argon2_profile import TEST_PROFILE, Argon2Profile
from otp_service.core.ports import HashPriority
from otp_service.hashing import ARGON2_CFFI, ArgonPool, MeasuredEngine, compute_argon2id


SALT = b"sixteen bytes!!!"
ENGINE = MeasuredEngine(ARGON2_CFFI, 0.1)


@pytest.fixture
def create_pool() -> Iterator[Callable[[int], ArgonPool]]:
    pools: list[ArgonPool] = []

    def create(workers: int) -> ArgonPool:
        pools.append(ArgonPool(ENGINE, TEST_PROFILE, workers))
        return pools[-1]

    yield create
    for pool in pools:
        pool.close()


class HeldThreads:
    """Takes the place of argon2: holds every thread until `release`, and lists the codes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.codes: list[str] = []
        self._begun, self._released = threading.Event(), threading.Event()
        monkeypatch.setattr(ARGON2_CFFI, "compute", self._compute)

    def release(self) -> None:
        self._released.set()

    async def wait_for_first(self) -> None:
        """Wait until a thread has begun."""
        assert await asyncio.to_thread(self._begun.wait, 10)

    def _compute(self, _profile: Argon2Profile, code: str, _salt: bytes) -> bytes:
        self.codes.append(code)
        self._begun.set()
        assert self._released.wait(10)
        return code.encode()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldThreads]:
    held = HeldThreads(monkeypatch)
    yield held
    held.release()


async def test_a_hash_uses_the_parameters_in_force_or_those_of_the_caller(create_pool):
    """What was hashed under older parameters is still compared under them."""
    pool, older = create_pool(1), Argon2Profile(memory_kib=16, passes=2, lanes=2)

    hashes = [
        await pool.compute_argon2id("code", SALT),
        await pool.compute_argon2id("code", SALT, pool.profile),
        await pool.compute_argon2id("code", SALT, older),
    ]

    current = compute_argon2id(TEST_PROFILE, "code", SALT)
    assert [current, current, compute_argon2id(older, "code", SALT)] == hashes
    assert 2 == len(set(hashes))


async def test_a_hash_is_computed_by_the_engine_of_the_pool_if_it_can():
    """libsodium has one lane only, so a set with two lanes is compared by argon2-cffi."""

    class OneLaneEngine:
        name = "constant"

        def supports(self, profile: Argon2Profile, salt: bytes) -> bool:
            return profile.lanes == 1 and salt == SALT

        def compute(self, _profile: Argon2Profile, code: str, _salt: bytes) -> bytes:
            return code.encode()

    pool = ArgonPool(MeasuredEngine(OneLaneEngine(), 0.1), TEST_PROFILE, 1)
    older = Argon2Profile(memory_kib=16, passes=2, lanes=2)

    hashes = [
        await pool.compute_argon2id("code", SALT),
        await pool.compute_argon2id("code", SALT, older),
    ]
    pool.close()

    assert [b"code", compute_argon2id(older, "code", SALT)] == hashes


async def test_a_verify_is_before_an_issue_and_an_issue_before_a_preparation(create_pool, held):
    """In whatever order they came while the only thread was busy."""
    pool = create_pool(1)
    first = asyncio.create_task(pool.compute_argon2id("first", SALT))
    await held.wait_for_first()

    waiting = [
        asyncio.create_task(pool.compute_argon2id(f"{priority.name} {i}", SALT, priority=priority))
        for i in (1, 2)
        for priority in reversed(HashPriority)
    ]
    await asyncio.sleep(0)  # each has put itself into the queue
    held.release()
    await asyncio.gather(first, *waiting)

    ordered = [f"{name} {i}" for name in ("VERIFY", "ISSUE", "PREPARATION") for i in (1, 2)]
    assert ["first", *ordered] == held.codes


async def test_a_canceled_call_is_not_computed_and_delays_no_other_one(create_pool, held):
    pool, loop_errors = create_pool(1), []
    asyncio.get_running_loop().set_exception_handler(lambda _, error: loop_errors.append(error))
    calls = [asyncio.create_task(pool.compute_argon2id("running", SALT))]
    await held.wait_for_first()
    calls += [asyncio.create_task(pool.compute_argon2id(f"{i}", SALT)) for i in range(4)]
    await asyncio.sleep(0)

    for canceled in (calls[0], calls[2], calls[3]):
        canceled.cancel()
    held.release()
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [b"0", b"3"] == [result for result in results if isinstance(result, bytes)]
    assert ["running", "0", "3"] == held.codes
    assert not loop_errors


async def test_every_call_of_many_threads_gets_its_own_hash(create_pool):
    """Calls of all priorities, of which some are canceled, with more threads than cores."""
    pool = create_pool(8)
    calls = [
        asyncio.create_task(
            pool.compute_argon2id(f"{i}", SALT, priority=HashPriority(i % len(HashPriority)))
        )
        for i in range(2000)
    ]
    await asyncio.sleep(0)
    for canceled in calls[::7]:
        canceled.cancel()

    async with asyncio.timeout(30):
        results = await asyncio.gather(*calls, return_exceptions=True)

    for i, result in enumerate(results):
        if isinstance(result, asyncio.CancelledError):
            assert i % 7 == 0
        else:
            assert compute_argon2id(TEST_PROFILE, f"{i}", SALT) == result


async def test_no_call_is_forgotten_while_threads_search_for_one(create_pool, monkeypatch):
    """A thread that has a wake-up finds a call, whatever the others take meanwhile."""
    monkeypatch.setattr(ARGON2_CFFI, "compute", lambda *_: b"hash")
    pool, interval = create_pool(8), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        async with asyncio.timeout(30):
            for _ in range(2000):
                calls = (pool.compute_argon2id("", SALT, priority=one) for one in (1, 0, 1, 0))
                assert [b"hash"] * 4 == await asyncio.gather(*calls)
    finally:
        sys.setswitchinterval(interval)


async def test_an_error_of_argon2_is_raised_to_its_caller_alone(create_pool, monkeypatch):
    def compute(_profile: Argon2Profile, code: str, _salt: bytes) -> bytes:
        if code == "bad":
            raise MemoryError
        return code.encode()

    monkeypatch.setattr(ARGON2_CFFI, "compute", compute)
    pool = create_pool(1)

    calls = [pool.compute_argon2id(code, SALT) for code in ("bad", "good", "bad", "better")]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [MemoryError, bytes, MemoryError, bytes] == [type(result) for result in results]
    assert [b"good", b"better"] == results[1::2]


async def test_close_cancels_what_waits_and_refuses_what_comes(create_pool, held):
    pool = create_pool(1)
    running = asyncio.create_task(pool.compute_argon2id("running", SALT))
    await held.wait_for_first()
    waiting = asyncio.create_task(pool.compute_argon2id("waiting", SALT))
    await asyncio.sleep(0)

    pool.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(RuntimeError):
        await pool.compute_argon2id("late", SALT)
    held.release()
    assert b"running" == await running
    assert ["running"] == held.codes


async def test_threads_start_with_the_first_call_and_end_at_close(create_pool):
    def list_threads() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if one.name.startswith("argon2_")} - before

    before = set(threading.enumerate())
    pool = create_pool(3)
    assert not list_threads()

    await pool.compute_argon2id("code", SALT)
    started = list_threads()
    assert 3 == len(started)

    pool.close()
    for thread in started:
        await asyncio.to_thread(thread.join, 10)
    assert not list_threads()


def test_a_thread_survives_a_caller_whose_loop_is_closed(create_pool, held):
    """As in a worker that is stopped by force: the hash has no receiver any more."""
    pool, loop = create_pool(1), asyncio.new_event_loop()
    abandoned = loop.create_task(pool.compute_argon2id("abandoned", SALT))
    loop.run_until_complete(held.wait_for_first())
    abandoned.cancel()
    loop.run_until_complete(asyncio.gather(abandoned, return_exceptions=True))
    loop.close()

    held.release()

    call = asyncio.wait_for(pool.compute_argon2id("next", SALT), 10)
    assert b"next" == asyncio.run(call)
