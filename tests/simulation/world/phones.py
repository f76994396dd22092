"""The phones of persons: which codes have arrived at which number."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

import msgspec


class ReceivedCode(msgspec.Struct, frozen=True):
    """A code that a person can read."""

    at: int
    """The instant of its arrival, in milliseconds of true time."""
    code: str
    challenge: str


class Phones:
    """Every phone, by number."""

    def __init__(self, read_true_ms: Callable[[], int]) -> None:
        self._read_true_ms = read_true_ms
        self._received: defaultdict[str, list[ReceivedCode]] = defaultdict(list)
        self._waiting: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)

    def deliver(self, number: str, code: str, challenge: str) -> None:
        """Put a message into a phone, and wake up who waits for one."""
        self._received[number].append(ReceivedCode(self._read_true_ms(), code, challenge))
        for future in self._waiting.pop(number, []):
            if not future.done():
                future.set_result(None)

    def list_codes(self, number: str, challenge: str) -> list[str]:
        """Return the codes of a challenge that have arrived, the newest last."""
        return [one.code for one in self._received[number] if one.challenge == challenge]

    async def wait_for_code(self, number: str, challenge: str, seconds: float) -> str | None:
        """Return the newest code of a challenge; None if none arrives within this time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (codes := self.list_codes(number, challenge)):
            future: asyncio.Future[None] = loop.create_future()
            self._waiting[number].append(future)
            try:
                async with asyncio.timeout_at(end):
                    await future
            except TimeoutError:
                return None
        return codes[-1]
