"""The do-not-send list in Redis, and the marks that a message from a phone is decided on.

An entry exists until it is lifted. Its name and its seal are of one limit key, so it is found and
opened as long as that key is configured. While two limit keys are in force, an entry is under either
of them, in the partition of the number under the same key: what is lifted is lifted under both.
"""

from collections.abc import Iterable, Sequence

from otp_service.core.do_not_send import (
    ALL_TENANTS,
    ANY_PROVIDER,
    PROCESSED_MESSAGE_TTL_MS,
    DoNotSendEntry,
    DoNotSendReason,
    InboundState,
    ListedEntry,
    ReceivedMessage,
    StoredOptOut,
)
from otp_service.core.events import Event
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.ports import ProgressCallback
from otp_service.store.commit_draft import CommitDraft
from otp_service.store.do_not_send_entries import ENTRY_VERSION, list_entries, open_entry
from otp_service.store.key_names import KeyNames, parse_key_partition, parse_opt_out_tenant
from otp_service.store.key_scan import ignore_progress
from otp_service.store.redis_store import RedisStore


MAX_PROCESSED_MESSAGES = 32
"""Of one number and provider. A phone that sends STOP and START in turn fills no memory, and no person
changes their mind so often before the vendor repeats a message."""
DIGEST_CHARS = 16
"""Of `KeyNames.digest_message_id`."""


class DoNotSendList:
    """The part of `core.ports.NumberRegistry` about blocks, opt-outs and messages from phones."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._client = store.client
        self._cipher = store.cipher

    async def block_number(
        self, phone: PhoneNumber, event: Event, operation_id: str, *, at: int | None = None
    ) -> None:
        """Block a number for all tenants. A block that can be opened keeps its instant."""
        partition = self._store.get_number_partition(phone.canonical)
        key = self._store.key_names.block_key(partition, phone.canonical)
        now, stored = await self._store.read_values((key,))
        draft = self._store.start_commit(partition, operation_id)
        is_stored = stored and isinstance(open_entry(self._cipher, key, stored), DoNotSendEntry)
        if not is_stored:
            entry = DoNotSendEntry(phone.e164, now if at is None else at)
            draft.write_record(key, ENTRY_VERSION, entry, expires_at=0)
        draft.append(event)
        await self._store.run_commit(draft, durable=True)

    async def unblock_number(
        self, phone: PhoneNumber, event: Event, operation_id: str, *, tenants: Iterable[str]
    ) -> None:
        """Lift the block of a number, and its opt-outs for all and for each of these tenants."""
        number, names_of_tenants = phone.canonical, _add_all(tenants)
        keys = [
            key
            for names, partition in self._list_places(phone)
            for key in (
                names.block_key(partition, number),
                *(names.opt_out_key(partition, one, number) for one in names_of_tenants),
            )
        ]
        await self._delete_with_event(phone, event, operation_id, keys=keys)

    async def read_inbound_state(
        self, phone: PhoneNumber, provider: str, message_id: str, *, tenants: Iterable[str]
    ) -> InboundState:
        """Return what a message is decided on. In a cluster, two limit keys cost two round trips."""
        number, names_of_tenants = phone.canonical, _add_all(tenants)
        marks = [
            key
            for sender in (provider, ANY_PROVIDER)
            for key in self._store.submission_mark_keys(sender, number)
        ]
        opt_outs: list[str] = []
        digests: dict[str, bytes] = {}
        for names, partition in self._list_places(phone):
            opt_outs += [names.opt_out_key(partition, one, number) for one in names_of_tenants]
            if message_id:
                key = names.processed_messages_key(partition, provider, number)
                digests[key] = names.digest_message_id(provider, message_id, number).encode()
        now, stored = await self._read_present((*marks, *opt_outs, *digests))
        processed = {key: stored[key] for key in digests if key in stored}
        return InboundState(
            now,
            is_expected=any(key in stored for key in marks),
            is_repeated=any(
                digests[key] in split_digests(value) for key, value in processed.items()
            ),
            processed=processed,
            opt_outs=tuple(
                self._open_opt_out(key, stored[key]) for key in opt_outs if key in stored
            ),
        )

    async def read_opt_outs(
        self, phone: PhoneNumber, *, tenants: Iterable[str]
    ) -> tuple[StoredOptOut, ...]:
        """Return the opt-outs of a number for all and for each of these tenants."""
        state = await self.read_inbound_state(phone, "", "", tenants=tenants)
        return state.opt_outs

    async def opt_out(  # noqa: PLR0913  # what is written, what it is for, and its event
        self,
        phone: PhoneNumber,
        tenant: str,
        entry: DoNotSendEntry,
        *,
        message: ReceivedMessage | None,
        event: Event,
        operation_id: str,
    ) -> bool:
        """Store an opt-out. Return False if there is one, or the message has made a change."""
        names, partition = self._store.key_names, self._store.get_number_partition(phone.canonical)
        key = names.opt_out_key(partition, tenant, phone.canonical)
        draft = self._store.start_commit(partition, operation_id)
        draft.expect(key, 0)
        draft.write_record(key, ENTRY_VERSION, entry, expires_at=0)
        self._mark_processed(draft, names, phone, message)
        draft.append_foldable(event)
        return await self._commit_if_unchanged(draft)

    async def opt_in(
        self,
        phone: PhoneNumber,
        opt_outs: Sequence[StoredOptOut],
        *,
        message: ReceivedMessage,
        event: Event,
        operation_id: str,
    ) -> bool:
        """Lift opt-outs that were read. Return False if one of them was lifted, or as `opt_out`.

        The last commit has the event, and runs where an opt-out is: of two STARTs one succeeds. If it
        fails after those under the other limit key were lifted, an opt-out is left for the repeat.
        """
        partition = parse_key_partition(opt_outs[0].key)
        others = [one for one in opt_outs if parse_key_partition(one.key) != partition]
        for other in {parse_key_partition(one.key) for one in others}:
            draft = self._start_lift(other, others, f"lift-{operation_id}")
            if not await self._commit_if_unchanged(draft):
                return False
        draft = self._start_lift(partition, opt_outs, operation_id)
        places = self._list_places(phone)
        names = next(names for names, one in places if one == partition)
        self._mark_processed(draft, names, phone, message)
        draft.append_foldable(event)
        return await self._commit_if_unchanged(draft)

    async def record_help(
        self, phone: PhoneNumber, *, message: ReceivedMessage, event: Event, operation_id: str
    ) -> bool:
        """Append the event. Return False if the message has made a change."""
        names, partition = self._store.key_names, self._store.get_number_partition(phone.canonical)
        draft = self._store.start_commit(partition, operation_id)
        self._mark_processed(draft, names, phone, message)
        draft.append_foldable(event)
        return await self._commit_if_unchanged(draft)

    async def confirm_state(self, phone: PhoneNumber, operation_id: str) -> None:
        """Wait until replicas have what is stored of a number. Raises NotReplicated.

        A call that changed it may have been refused for them. The WAIT after a commit that writes nothing
        else waits for all that the server wrote before.
        """
        if not self._store.client.replicas:
            return
        for partition in self._store.list_number_partitions(phone.canonical):
            draft = self._store.start_commit(partition, operation_id)
            await self._store.run_commit(draft, durable=True)

    async def list_entries(
        self, reason: DoNotSendReason, progress: ProgressCallback = ignore_progress
    ) -> list[ListedEntry]:
        """Return the blocks or the opt-outs, the earliest first, each once."""
        return await list_entries(self._store, reason, progress)

    async def _delete_with_event(
        self, phone: PhoneNumber, event: Event, operation_id: str, *, keys: Sequence[str]
    ) -> None:
        """Delete keys of any partition, those of the partition of the number with the event."""
        partition = self._store.get_number_partition(phone.canonical)
        others = [key for key in keys if parse_key_partition(key) != partition]
        await self._store.delete_keys(others, operation_id, durable=True)
        draft = self._store.start_commit(partition, operation_id)
        for key in keys:
            if parse_key_partition(key) == partition:
                draft.delete(key)
        draft.append(event)
        await self._store.run_commit(draft, durable=True)

    def _list_places(self, phone: PhoneNumber) -> list[tuple[KeyNames, int]]:
        """Return where entries of a number can be: the partition under each limit key."""
        number = phone.canonical
        return [
            (names, names.compute_number_partition(number)) for names in self._store.all_key_names
        ]

    async def _read_present(self, keys: Sequence[str]) -> tuple[int, dict[str, bytes]]:
        """Return the time, and the values of the keys that are stored.

        Those under the earlier limit key are read first: `otp-service limit-key move` writes an entry
        under the new name before it deletes the old one, so one of both reads has it.
        """
        stored: dict[str, bytes] = {}
        now = 0
        for partition in reversed(list(dict.fromkeys(map(parse_key_partition, keys)))):
            own = tuple(key for key in keys if parse_key_partition(key) == partition)
            now, *values = await self._store.read_values(own)
            stored.update(
                {key: value for key, value in zip(own, values, strict=True) if value is not None}
            )
        return now, stored

    def _start_lift(
        self, partition: int, opt_outs: Sequence[StoredOptOut], operation_id: str
    ) -> CommitDraft:
        """Return the draft that deletes the opt-outs of a partition, if they are stored."""
        draft = self._store.start_commit(partition, operation_id)
        for one in opt_outs:
            if parse_key_partition(one.key) == partition:
                if isinstance(
                    one.entry, DoNotSendEntry
                ):  # the first bytes of another record may be no version
                    draft.expect(one.key, ENTRY_VERSION)
                draft.delete(one.key)
        return draft

    @staticmethod
    def _mark_processed(
        draft: CommitDraft, names: KeyNames, phone: PhoneNumber, message: ReceivedMessage | None
    ) -> None:
        """Let the commit depend on that no message has made a change since the read, and note this one."""
        if message is None or not message.id:
            return
        number = phone.canonical
        partition = names.compute_number_partition(number)
        key = names.processed_messages_key(partition, message.provider, number)
        stored = message.processed.get(key, b"")
        earlier = split_digests(stored)
        if earlier or not stored:  # what another program has written there is replaced
            draft.expect_start(key, stored)
        digest = names.digest_message_id(message.provider, message.id, number).encode()
        digests = b"".join((digest, *earlier)[:MAX_PROCESSED_MESSAGES])
        draft.write(key, digests, message.at + PROCESSED_MESSAGE_TTL_MS)

    async def _commit_if_unchanged(self, draft: CommitDraft) -> bool:
        reply = await self._store.run_commit(draft, durable=True)
        return bool(reply[0] == b"done")

    def _open_opt_out(self, key: str, value: bytes) -> StoredOptOut:
        return StoredOptOut(parse_opt_out_tenant(key), open_entry(self._cipher, key, value), key)


def split_digests(value: bytes) -> list[bytes]:
    """Return the digests of message ids in a value, the newest first; none of another program's value."""
    if len(value) % DIGEST_CHARS or not value.isascii():
        return []
    return [value[at : at + DIGEST_CHARS] for at in range(0, len(value), DIGEST_CHARS)]


def _add_all(tenants: Iterable[str]) -> list[str]:
    return list(dict.fromkeys((ALL_TENANTS, *tenants)))
