"""The two records of the brake that all processes read: what was learned, and operators' overrides."""

from typing import Any, Final

import msgspec

from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import Event, Tampered
from otp_service.core.pumping.learned_traffic import LearnedTraffic
from otp_service.core.pumping.overrides import Overrides
from otp_service.core.timestamps import DAY_MS
from otp_service.store.redis_store import RedisStore
from otp_service.store.version_guard import parse_version


LEARNED_TTL_MS: Final = DAY_MS
"""How long what was learned is kept after it was written. It is written each minute; a record without
an end would outlive the key that opens it."""

_encode_learned = msgspec.msgpack.Encoder().encode


class UnopenedRecord(msgspec.Struct, frozen=True):
    """A record that this process cannot open, by the name of its key."""

    key: str
    error: StoreUnavailable
    """StoreTampered, StoreKeyUnknown, or one whose cause is the content of another version."""


class BrakeSnapshot(msgspec.Struct, frozen=True):
    """Both records as they were read at one instant."""

    now: int = 0
    """The time of Redis."""
    learned: LearnedTraffic = LearnedTraffic()
    overrides: Overrides = Overrides()
    sealed_learned: bytes | None = None
    sealed_overrides: bytes | None = None
    failures: tuple["UnopenedRecord", ...] = ()
    """The records that this read could not open; a later read that finds the same bytes has none."""

    @property
    def learned_version(self) -> int:
        """The version to replace; 0 without a record."""
        return parse_version(self.sealed_learned or b"")


class BrakeRecords:
    """Reads both records in one step, and replaces what was learned."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._partition, self._learned_key = store.key_names.locate_shared_record("brake")
        _, self._overrides_key = store.key_names.locate_shared_record("brake-overrides")
        self._learned_decoder = msgspec.msgpack.Decoder(LearnedTraffic)
        self._overrides_decoder = msgspec.msgpack.Decoder(Overrides)

    async def read(self, last: BrakeSnapshot) -> BrakeSnapshot:
        """Return both records. Only one that has changed since `last` is opened.

        One that cannot be opened leaves what was known before, and is among the `failures`. Raises
        StoreUnavailable if Redis does not answer.
        """
        keys = (self._learned_key, self._overrides_key)
        now, learned, overrides = await self._store.read_values(keys)
        failures: list[UnopenedRecord] = []

        def open_record(key: str, sealed: bytes | None, decoder: Any, known: Any) -> Any:
            try:
                return self._open(key, sealed, decoder)
            except StoreUnavailable as error:
                failures.append(UnopenedRecord(key, error))
                return known

        return BrakeSnapshot(
            now,
            last.learned
            if learned == last.sealed_learned
            else open_record(self._learned_key, learned, self._learned_decoder, last.learned),
            last.overrides
            if overrides == last.sealed_overrides
            else open_record(
                self._overrides_key, overrides, self._overrides_decoder, last.overrides
            ),
            learned,
            overrides,
            tuple(failures),
        )

    async def record_tampering(self, event: Tampered, operation_id: str) -> None:
        """Append the event of a record with a wrong MAC. Raises StoreUnavailable."""
        draft = self._store.start_commit(self._partition, operation_id)
        draft.append_foldable(event)
        await self._store.run_commit(draft)

    async def replace_learned(
        self,
        read: BrakeSnapshot,
        learned: LearnedTraffic,
        events: tuple[Event, ...],
        operation_id: str,
    ) -> bool:
        """Replace what was read, with the events of the change. Return False after a conflict."""
        draft = self._store.start_commit(self._partition, operation_id)
        version = read.learned_version
        if version or read.sealed_learned is None:  # what has no version is replaced in any case
            draft.expect(self._learned_key, version)
        body = _encode_learned(learned)
        draft.write(
            self._learned_key,
            self._store.cipher.seal_record(self._learned_key, version + 1, body),
            read.now + LEARNED_TTL_MS,
        )
        for event in events:
            draft.append(event)
        reply = await self._store.run_commit(draft)
        return bool(reply[0] == b"done")

    def _open(self, key: str, sealed: bytes | None, decoder: Any) -> Any:
        """Return the content of a record, an empty one if it is missing. Raises StoreUnavailable."""
        if sealed is None:
            return decoder.type()
        try:
            return decoder.decode(self._store.cipher.open_record(key, sealed)[1])
        except msgspec.MsgspecError as error:
            cause = f"the record {key} has the content of another version of this program"
            raise StoreUnavailable(cause=cause) from error
