"""Bugs of sends: their codes, and the keys under which they are repeated."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from otp_service.core.challenge import ChallengeSecret
from otp_service.core.errors import ResultNotStored, StoreUnavailable
from otp_service.core.prepared_codes import PreparedCodes
from otp_service.service.idempotency import IdempotencyKeys
from tests.simulation.auditor.violation import Promise
from tests.simulation.planted.planted_bug import PlantedBug, replace_part


@contextmanager
def free_key_too_early() -> Iterator[None]:
    def build(original: Any) -> Any:
        @asynccontextmanager
        async def claim(self: Any, *arguments: Any) -> AsyncIterator[Any]:
            async with original(self, *arguments) as claimed:
                try:
                    yield claimed
                except ResultNotStored as error:
                    raise StoreUnavailable(cause=error.cause) from error

        return claim

    with replace_part(IdempotencyKeys, "claim", build):
        yield


@contextmanager
def keep_prepared_code() -> Iterator[None]:
    def build(_: Any) -> Any:
        def pop_reserved(self: Any) -> Any:
            return self._codes[0] if self._codes else None

        return pop_reserved

    with replace_part(PreparedCodes, "pop_reserved", build):
        yield


@contextmanager
def keep_replaced_codes() -> Iterator[None]:
    def build(original: Any) -> Any:
        def select_live_codes(self: Any, now: int, max_live_codes: int) -> Any:
            return original(self, now, max_live_codes + 1)

        return select_live_codes

    with replace_part(ChallengeSecret, "select_live_codes", build):
        yield


BUGS: Final = (
    PlantedBug(
        name="idempotency record freed too early",
        what="an Idempotency-Key is freed although its message may have been sent",
        promises=frozenset({Promise.REPEATS}),
        plant=free_key_too_early,
    ),
    PlantedBug(
        name="prepared code used twice",
        what="a prepared code stays in the stock when it is taken",
        promises=frozenset({Promise.COMPARISONS}),
        plant=keep_prepared_code,
    ),
    PlantedBug(
        name="third code live",
        what="the oldest of three codes stays valid",
        promises=frozenset({Promise.SUCCESS}),
        plant=keep_replaced_codes,
    ),
)
