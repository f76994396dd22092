"""Opening and listing the entries of the do-not-send list."""

from collections.abc import Sequence

import msgspec

from otp_service.core.do_not_send import (
    ALL_TENANTS,
    DoNotSendEntry,
    DoNotSendReason,
    ListedEntry,
    UnreadableEntry,
)
from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.ports import ProgressCallback
from otp_service.store.key_names import build_key_pattern, parse_opt_out_tenant
from otp_service.store.key_scan import find_keys
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore


ENTRY_VERSION = 1
"""Always the same: an entry is written where none is, and never changed."""

_decode_entry = msgspec.msgpack.Decoder(DoNotSendEntry).decode


def open_entry(cipher: RecordCipher, key: str, value: bytes) -> DoNotSendEntry | UnreadableEntry:
    """Return the entry of a record. It refuses sends also if it cannot be opened."""
    try:
        return _decode_entry(cipher.open_record(key, value)[1])
    except StoreKeyUnknown as error:
        return UnreadableEntry(error.cause)
    except (StoreTampered, msgspec.MsgspecError):
        return UnreadableEntry("its MAC is wrong")


async def list_entries(
    store: RedisStore, reason: DoNotSendReason, progress: ProgressCallback
) -> list[ListedEntry]:
    """Return the blocks or the opt-outs, the earliest first, each once."""
    names, is_block = store.key_names, reason is DoNotSendReason.BLOCKED
    name = names.block_key(0, "") if is_block else names.opt_out_key(0, "*", "")
    keys = await find_keys(store.client, build_key_pattern(name), progress)
    values = await store.client.read_each(keys, "GET")
    return _sort_entries(
        [
            ListedEntry(
                reason,
                ALL_TENANTS if is_block else parse_opt_out_tenant(key),
                open_entry(store.cipher, key, value),
            )
            for key, value in zip(keys, values, strict=True)
            if value is not None
        ]
    )


def _sort_entries(entries: Sequence[ListedEntry]) -> list[ListedEntry]:
    """Return the entries by their instant, each number once for its tenant, then unreadable ones.

    During a rotation of the limit key an entry may be stored under both.
    """
    earliest: dict[tuple[str, str], tuple[int, ListedEntry]] = {}
    unreadable = []
    for listed in entries:
        entry = listed.entry
        if isinstance(entry, UnreadableEntry):
            unreadable.append(listed)
            continue
        name = (listed.tenant, entry.number)
        if name not in earliest or entry.at < earliest[name][0]:
            earliest[name] = (entry.at, listed)
    ordered = sorted(earliest.items(), key=lambda item: (item[1][0], item[0]))
    return [*(listed for _, (_, listed) in ordered), *unreadable]
