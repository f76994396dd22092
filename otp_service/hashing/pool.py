"""argon2id in a bounded number of threads, the most urgent call first.

argon2 releases the interpreter lock, so threads use every core. Memory is bounded by the threads
times the memory of the profile in force, or of the recovery sets that were made under another one.
`core.admission` bounds the waiting calls before anything is charged.

These are threads of our own because an executor knows no priorities. They also take half of its CPU
time for a call (29 instead of 55 µs), of which a login with the cheapest profile has two.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.ports import HashPriority
from otp_service.hashing.engine_choice import MeasuredEngine


class _HashCall(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[bytes]
    profile: Argon2Profile
    code: str
    salt: bytes


class ArgonPool:
    """Implements `core.ports.Hasher`.

    The threads start with the first call, so that a process that forks before it has none.
    """

    def __init__(self, engine: MeasuredEngine, profile: Argon2Profile, workers: int) -> None:
        self.engine = engine
        self.profile = profile
        self._workers = workers
        self._has_started = self._is_closed = False
        self._calls: tuple[deque[_HashCall], ...] = tuple(deque() for _ in HashPriority)
        """Those that wait, by their priority."""
        self._wake_ups: SimpleQueue[None] = SimpleQueue()
        """One for each call that waits; a thread takes one before it looks for a call."""
        self._needed_by = 0
        """Calls that wait or run and are no preparations."""

    @property
    def is_needed(self) -> bool:
        """Whether a call waits or runs that is no preparation."""
        return self._needed_by > 0

    @property
    def hash_ms(self) -> float:
        """Milliseconds of CPU for one hash of the profile in force."""
        return self.engine.hash_ms

    async def compute_argon2id(
        self,
        code: str,
        salt: bytes,
        profile: Argon2Profile | None = None,
        *,
        priority: HashPriority = HashPriority.ISSUE,
    ) -> bytes:
        """Return argon2id(code, salt). Raises Argon2Error, and RuntimeError after `close`.

        A call that is canceled before a thread has it is not computed.
        """
        if self._is_closed:
            raise RuntimeError("the argon2 threads have ended")
        if not self._has_started:
            self._start_threads()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._calls[priority].append(_HashCall(loop, future, profile or self.profile, code, salt))
        self._wake_ups.put(None)
        self._needed_by += priority != HashPriority.PREPARATION
        try:
            return await future
        finally:
            self._needed_by -= priority != HashPriority.PREPARATION

    def close(self) -> None:
        """Cancel the calls that wait, and end each thread after its call; does not wait for it."""
        self._is_closed = True
        for calls in self._calls:
            with suppress(IndexError):
                while call := calls.popleft():
                    _run_in_loop(call, call.future.cancel)
        for _ in range(self._workers):
            self._wake_ups.put(None)

    def _start_threads(self) -> None:
        self._has_started = True
        for index in range(self._workers):
            # A daemon: a hash in progress does not delay the end of the process.
            Thread(target=self._run_calls, name=f"argon2_{index}", daemon=True).start()

    def _run_calls(self) -> None:
        while call := self._take_call():
            if call.future.cancelled():
                continue
            try:
                argon2_hash = self.engine.compute(call.profile, call.code, call.salt)
            except BaseException as error:  # noqa: BLE001  # it is the caller's
                _run_in_loop(call, _set_exception, call.future, error)
            else:
                _run_in_loop(call, _set_result, call.future, argon2_hash)

    def _take_call(self) -> _HashCall | None:
        """Wait for a call and return the most urgent one; None after `close`."""
        self._wake_ups.get()
        # A wake-up is sent after its call was added, and every thread searches in the same order, so
        # each thread with a wake-up finds a call.
        for calls in self._calls:
            with suppress(IndexError):
                return calls.popleft()
        return None


def _run_in_loop(call: _HashCall, callback: Callable[..., object], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop is closed, and with it the caller gone
        call.loop.call_soon_threadsafe(callback, *arguments)


def _set_result(future: asyncio.Future[bytes], argon2_hash: bytes) -> None:
    if not future.done():
        future.set_result(argon2_hash)


def _set_exception(future: asyncio.Future[bytes], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
