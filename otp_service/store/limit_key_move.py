"""Moves what is named under another limit key to its name under the key in force.

The new name is always written before the old one is deleted, so a call that searches the earlier key
first (rotating_store.py) finds an entry, or a lock, at every moment. Both may be on different servers,
so that no commit can have them. A move that was interrupted is completed by the next run.

An operator or a START may lift an entry between the two writes. Then the old name is gone without a
note that a move has deleted it, and the new one is deleted, too. A correct code may reset failures in
the same way: they are subtracted again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from otp_service.core.do_not_send import DoNotSendEntry
from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.limits import CONSECUTIVE_FAILURES_TTL_MS
from otp_service.core.ports import ProgressCallback
from otp_service.core.timestamps import MINUTE_MS
from otp_service.store.commit_request import read_lua
from otp_service.store.do_not_send_entries import ENTRY_VERSION, open_entry
from otp_service.store.failure_move import FailureMove, decode_move, encode_move
from otp_service.store.key_names import (
    build_failures_pattern,
    build_moved_key,
    is_failures_key,
    parse_key_partition,
)
from otp_service.store.key_scan import find_keys, ignore_progress
from otp_service.store.limit_key_contents import ContentKind, LimitKeyContents, MisplacedKey
from otp_service.store.lua_script import LuaScript
from otp_service.store.redis_store import RedisStore


MAX_CONFLICTS = 5
"""How often an entry may change while it is moved, before it is left for the next run."""

MOVED_NOTE_MS = MINUTE_MS
"""How long it is known that a move has deleted an entry: far longer than one entry takes."""

MOVED_NOTE = b"1"


class LimitKeyMover:
    """Moves blocks, opt-outs and consecutive failures. Every method raises StoreUnavailable.

    `generate_id` returns a new operation id.
    """

    def __init__(self, store: RedisStore, generate_id: Callable[[], str]) -> None:
        self._store = store
        self._client = store.client
        self._cipher = store.cipher
        self._generate_id = generate_id
        self._script = LuaScript(read_lua("move_failures"))

    async def move(
        self, contents: LimitKeyContents, progress: ProgressCallback = ignore_progress
    ) -> int:
        """Move what a scan has found, and return how much was moved.

        The failures of a number with a valid code in the partition of the earlier key stay: that code
        is charged there. Call `complete_moves` before the scan.
        """
        moved, total = 0, len(contents.misplaced)
        for done, item in enumerate(contents.misplaced, 1):
            if item.kind is not ContentKind.FAILURES:
                moved += await self._move_entry(item)
            elif not contents.is_waiting(item):
                moved += await self._move_failures(item)
            progress(done, total)
        return moved

    # ----------------------------------------------------------------------------------- entries

    async def _move_entry(self, item: MisplacedKey) -> bool:
        """Move an entry, or return False if it was lifted meanwhile.

        If there is one under both names, the earlier of the two is kept.
        """
        for _ in range(MAX_CONFLICTS):
            (stored, present) = await self._client.read_each([item.key, item.target], "GET")
            entry = stored and open_entry(self._cipher, item.key, stored)
            if not isinstance(entry, DoNotSendEntry):
                return False  # lifted, or changed by another program
            is_added = present is None
            if not await self._write_entry(item.target, entry, present):
                continue
            if await self._delete_entry(item.key):
                return True
            if is_added and not await self._is_moved(item.key):
                await self._undo_entry(item.target)
        return False

    async def _write_entry(self, target: str, entry: DoNotSendEntry, present: bytes | None) -> bool:
        """Write an entry unless an earlier one is there. Return False if another call was faster."""
        known = present and open_entry(self._cipher, target, present)
        if isinstance(known, DoNotSendEntry) and known.at <= entry.at:
            return True
        draft = self._store.start_commit(parse_key_partition(target), self._generate_id())
        if not present:
            draft.expect(target, 0)
        elif isinstance(known, DoNotSendEntry):
            draft.expect(target, ENTRY_VERSION)
        draft.write_record(target, ENTRY_VERSION, entry, expires_at=0)
        reply = await self._store.run_commit(draft, durable=True)
        return bool(reply[0] == b"done")

    async def _delete_entry(self, key: str) -> bool:
        """Delete an entry, with a note that it was moved. Return False if it is gone."""
        now, _ = await self._store.read_values((key,))
        draft = self._store.start_commit(parse_key_partition(key), self._generate_id())
        draft.expect(key, ENTRY_VERSION)
        draft.delete(key)
        draft.write(build_moved_key(key), MOVED_NOTE, now + MOVED_NOTE_MS)
        reply = await self._store.run_commit(draft, durable=True)
        return bool(reply[0] == b"done")

    async def _is_moved(self, key: str) -> bool:
        """Whether another run of the command has moved an entry."""
        (note,) = await self._client.read_each([build_moved_key(key)], "EXISTS")
        return bool(note)

    async def _undo_entry(self, target: str) -> None:
        draft = self._store.start_commit(parse_key_partition(target), self._generate_id())
        draft.expect(target, ENTRY_VERSION)
        draft.delete(target)
        await self._store.run_commit(draft, durable=True)

    # ---------------------------------------------------------------------------------- failures

    async def complete_moves(self, progress: ProgressCallback = ignore_progress) -> None:
        """Complete the moves of failures of an earlier run that was interrupted."""
        keys = await find_keys(self._client, build_failures_pattern(), progress)
        for key, move in zip(keys, await self._client.read_each(keys, "HGET", "move"), strict=True):
            if move:
                await self._complete(key, move)

    async def _move_failures(self, item: MisplacedKey) -> bool:
        """Add the failures of a bucket to those under the key in force, and take them from it.

        Return False if the bucket is empty, or its subject cannot be read.
        """
        fields = ("count", "last", "subject")
        ((count, last, sealed),) = await self._client.read_each([item.key], "HMGET", *fields)
        if not int(count or 0):
            return False
        try:
            subject = self._cipher.open_record(item.key, sealed or b"")[1]
        except (StoreTampered, StoreKeyUnknown):
            return False
        noted = await self._add_failures(item, int(count), int(last or 0), subject)
        await self._complete(item.target, noted)
        return True

    async def _add_failures(
        self, item: MisplacedKey, count: int, last: int, subject: bytes
    ) -> bytes:
        """Add failures, and return the move that the bucket notes."""
        move = encode_move(FailureMove(self._generate_id(), item.key, count))
        resealed = self._cipher.seal_constant(item.target, subject)
        numbers = (count, last)
        arguments = (*(b"%d" % n for n in numbers), resealed, b"%d" % CONSECUTIVE_FAILURES_TTL_MS)
        noted: bytes = await self._run(item.target, b"add", move, *arguments)
        return noted

    async def _complete(self, target: str, move: bytes) -> None:
        """Take what was added from the source, and correct what it had no longer.

        A correct code or an operator may have reset the source since it was read.
        """
        noted = decode_move(move)
        if noted is None or not is_failures_key(noted.source):
            # Another program wrote the note. Nothing is subtracted for it.
            await self._run(target, b"finish", move, b"0")
            return
        taken: int = await self._run(noted.source, b"take", move, b"%d" % noted.failures)
        await self._run(target, b"finish", move, b"%d" % (noted.failures - taken))
        await self._run(noted.source, b"forget", move)

    async def _run(self, key: str, call: bytes, *arguments: bytes) -> Any:
        run = partial(
            self._client.run_script, self._script, (key,), (call, *arguments), durable=True
        )
        return await self._client.retry_lost_reply(run)
