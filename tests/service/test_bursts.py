"""A burst of issues: a person who holds a code is not kept out by it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from otp_service.core.admission import AdmissionControl
from otp_service.core.errors import IncorrectCode, Overloaded
from otp_service.core.ports import HashPriority
from tests.installation import CountingHasher, Installation, gather_results, make_wrong_code


SALT = b"sixteen bytes!!!"

NUMBERS = [f"+4474001234{i:02d}" for i in range(30)]


class HeldCode(str):
    """A code on which argon2 waits until `released` is set."""

    __slots__ = ()
    released: threading.Event

    def encode(self, *_: Any) -> bytes:
        assert self.released.wait(30)
        return b""


class OrderHasher(CountingHasher):
    """Lists the hashes in the order in which they end."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[HashPriority] = []

    async def compute_argon2id(self, *arguments: Any, **more: Any) -> bytes:
        argon2_hash = await super().compute_argon2id(*arguments, **more)
        self.ended.append(more.get("priority", HashPriority.ISSUE))
        return argon2_hash


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110  # calls wait for Redis, whose time cannot be moved
            await asyncio.sleep(0.005)


async def test_a_verify_is_computed_before_the_issues_that_wait(
    installation: Installation,
) -> None:
    """Also if all of them came first: no issue that waits for a thread is done before it."""
    issued = await installation.issue("+447400129999")
    code = installation.router.extract_code()
    hasher, release = OrderHasher(), threading.Event()
    busy = installation.restart(hasher=hasher)
    HeldCode.released = release
    held = [asyncio.create_task(hasher.compute_argon2id(HeldCode("x"), SALT)) for _ in range(2)]

    burst = [asyncio.create_task(busy.issue(number)) for number in NUMBERS]
    await wait_until(lambda: hasher.hash_count == len(held) + len(burst))
    verify = asyncio.create_task(busy.verify(issued, code))
    await wait_until(lambda: hasher.hash_count == len(held) + len(burst) + 1)
    release.set()
    await asyncio.gather(verify, *held, *burst)

    # Two threads: each ends its held hash, and the other one may have taken an issue meanwhile.
    assert hasher.ended.index(HashPriority.VERIFY) <= 3


async def test_a_full_gate_of_issues_does_not_refuse_a_verify(installation: Installation) -> None:
    issued = await installation.issue()
    code = installation.router.extract_code()
    full = installation.restart(hash_slots=AdmissionControl(0, 0))

    for answer in await gather_results(*(full.issue(number) for number in NUMBERS)):
        assert isinstance(answer, Overloaded)
    with pytest.raises(IncorrectCode):
        await full.verify(issued, make_wrong_code(code))
    await full.verify(issued, code)


async def test_a_full_gate_of_verifies_refuses_before_anything_is_charged(
    installation: Installation,
) -> None:
    """R13: a 503 costs nothing, and no attempt of the person."""
    issued = await installation.issue()
    full = installation.restart(verify_slots=AdmissionControl(0, 0))

    for _ in range(20):
        with pytest.raises(Overloaded):
            await full.verify(issued, "000000")

    await full.issue(NUMBERS[0])
    await installation.verify(issued, installation.router.extract_code(0))
