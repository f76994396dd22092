"""What a process tells the log of itself, and of whoever never came in."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from otp_service.app.factories import RANDOM
from otp_service.core import events
from otp_service.core.challenge import PARTITIONS
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import Key
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.ports import Commit
from otp_service.core.pseudonym import pseudonym
from otp_service.store.redis_store import RedisStore
from otp_service.telemetry import AccessCounter


class Telling:
    """Appends the events that no request has made; `versions` is what stands in each of them."""

    def __init__(
        self, store: RedisStore, access: AccessCounter, versions: dict[str, str], key: Key
    ) -> None:
        self._store = store
        self._access = access
        self._versions = versions
        self._key = key

    async def service(self, reason: str) -> None:
        """Tell that the service started or stopped; Redis may be away, and may come later."""
        event = events.ServiceChanged(**self._about(), reason=reason)
        with suppress(StoreUnavailable):
            await self._append(event, self._store.names.partition("service"))

    async def archive(self, reason: str) -> None:
        """Tell what became of the archive."""
        event = events.ArchiveChanged(**self._about(), reason=reason)
        await self._append(event, self._store.names.partition("service"))

    async def looked_up(self, phone: PhoneNumber, found: int, **who: Any) -> None:
        """Tell that somebody looked for a number's events: nothing is shown unrecorded."""
        event = events.LookedUp(
            **self._about(),
            number=pseudonym(self._key, "number", phone.collapsed),
            country=phone.country,
            tail=phone.e164[-2:],
            found=found,
            **who,
        )
        await self._append(event, self._store.partition_of(phone.collapsed))

    async def everything(self) -> None:
        """Tell what is only counted until now: folded refusals, and what strangers tried."""
        await self.strangers()
        for partition in range(PARTITIONS):
            await self._store.sweep(partition, RANDOM.operation())

    async def strangers(self) -> None:
        """Tell of calls without a valid key or scope, and of false callbacks."""
        for event in self._strangers():
            await self._append(event, self._store.names.partition("access"))

    def _strangers(self) -> Iterator[events.Event]:
        for reason, count in self._access.drain().items():
            yield events.AccessDenied(**self._about(), reason=reason, count=count)
        for (provider, reason), count in self._access.drain_callbacks().items():
            about = self._about() | {"provider": provider, "reason": reason}
            yield events.CallbackRejected(**about, count=count)

    async def _append(self, event: events.Event, partition: int) -> None:
        await self._store.commit(
            Commit(partition=partition, operation=RANDOM.operation(), events=(event,))
        )

    def _about(self) -> dict[str, Any]:
        return {"id": RANDOM.bytes(16).hex(), "versions": self._versions}
