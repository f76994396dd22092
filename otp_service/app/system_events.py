"""Events that no authenticated request causes: starts, stops, lookups and denied access."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from otp_service.app.factories import RANDOM_SOURCE
from otp_service.core import events
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.commit import Commit
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import Key
from otp_service.core.phone_number import PhoneNumber
from otp_service.store.redis_store import RedisStore
from otp_service.telemetry import DeniedAccessCounter


@dataclass(frozen=True)
class SystemEvents:
    """Appends system events; each carries `versions`. Methods raise StoreUnavailable."""

    _store: RedisStore
    _access_counter: DeniedAccessCounter
    _versions: dict[str, str]
    _pseudonym_key: Key

    async def record_service_change(self, reason: str) -> None:
        """Record a start, stop or refused reload. Does nothing without Redis."""
        outcome = "failure" if reason == "reload_refused" else "success"
        fields = self._build_event_fields()
        event = events.ServiceChanged(**fields, outcome=outcome, reason=reason)
        with suppress(StoreUnavailable):
            partition = self._store.key_names.compute_partition("service")
            await append_event(self._store, event, partition)

    async def record_fullness_change(self, reason: str) -> None:
        event = events.ArchiveChanged(**self._build_event_fields(), reason=reason)
        await append_event(self._store, event, self._store.key_names.compute_partition("service"))

    async def record_lookup(
        self, phone: PhoneNumber | None, account: str | None, found: int, **caller_fields: Any
    ) -> None:
        """Record a search for the events of a number or an account, before its results are shown.

        Does nothing for a search for neither.
        """
        if phone is None and account is None:
            return
        fields = self._build_event_fields() | self._build_person_fields(phone, account)
        event = events.AuditLookup(**fields, found=found, **caller_fields)
        if phone is not None:
            partition = self._store.get_number_partition(phone.canonical)
        else:
            partition = self._store.key_names.compute_partition("lookup", account or "")
        await append_foldable_event(self._store, event, partition)

    async def record_transfer(self, event_type: type[events.Event], **fields: Any) -> None:
        """Record that the command line has imported or exported authenticators."""
        event = event_type(**self._build_event_fields(), **fields)
        await append_event(self._store, event, self._store.key_names.compute_partition("service"))

    async def record_limit_key_move(self, reason: str, **fields: Any) -> None:
        """Record that the command line moves what is under an earlier limit key."""
        event = events.LimitKeyMoved(**self._build_event_fields(), reason=reason, **fields)
        partition = self._store.key_names.compute_partition("service")
        await append_event(self._store, event, partition)

    def _build_person_fields(
        self, phone: PhoneNumber | None, account: str | None
    ) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if account is not None:
            fields["account"] = self._pseudonym_key.derive_pseudonym("account", account)
        if phone is not None:
            fields["number"] = self._pseudonym_key.derive_pseudonym("number", phone.canonical)
            fields |= {"country": phone.country, "number_suffix": phone.e164[-2:]}
        return fields

    async def flush_counted_events(self) -> None:
        """Append the events of what was only counted: denied access and folded refusals."""
        await self.record_denied_access()
        for partition in range(PARTITION_COUNT):
            await self._store.flush_folds(partition, RANDOM_SOURCE.generate_operation_id())

    async def record_denied_access(self) -> None:
        """Append the counts of calls without a valid key or scope and of rejected callbacks."""
        for event in self._build_denial_events():
            partition = self._store.key_names.compute_partition("access")
            await append_foldable_event(self._store, event, partition)

    def _build_denial_events(self) -> Iterator[events.Event]:
        for reason, count in self._access_counter.drain_calls().items():
            yield events.AccessDenied(**self._build_event_fields(), reason=reason, count=count)
        for (provider, reason), count in self._access_counter.drain_callbacks().items():
            fields = {**self._build_event_fields(), "provider": provider, "reason": reason}
            yield events.CallbackRejected(**fields, count=count)

    def _build_event_fields(self) -> dict[str, Any]:
        return {"id": RANDOM_SOURCE.token_bytes(16).hex(), "versions": self._versions}


async def append_event(store: RedisStore, event: events.Event, partition: int) -> None:
    operation_id = RANDOM_SOURCE.generate_operation_id()
    commit = Commit(partition=partition, operation_id=operation_id, events=(event,))
    await store.commit(commit)


async def append_foldable_event(store: RedisStore, event: events.Event, partition: int) -> None:
    """Append one of `events.FOLDABLE_EVENTS`, or count it in its fold."""
    operation_id = RANDOM_SOURCE.generate_operation_id()
    commit = Commit(partition=partition, operation_id=operation_id, foldable_event=event)
    await store.commit(commit)
