"""The events of a run as the auditor reads them, from the entries of the log in the store."""

import functools
from collections.abc import Iterable

import msgspec

from otp_service.core.log_entry import Entry, decode_stamp
from otp_service.store.record_cipher import RecordCipher
from tests.simulation.history import StoredEvent
from tests.simulation.world.configuration import ALL_KEY_IDS, build_keys


_decode_event = msgspec.json.Decoder(dict[str, object]).decode


def build_stored_events(entries: Iterable[Entry]) -> list[StoredEvent]:
    """Return the events of entries, in the order of their partitions and positions."""
    in_order = sorted(entries, key=lambda entry: (entry.partition, entry.position))
    return [_build_stored_event(entry) for entry in in_order]


def _build_stored_event(entry: Entry) -> StoredEvent:
    return StoredEvent(
        partition=entry.partition,
        at=entry.position.at,
        sequence=entry.position.sequence,
        epoch=entry.epoch,
        members=_decode_event(entry.event) | decode_stamp(entry.stamp),
        is_authentic=create_cipher().verify_event(entry.event, entry.mac),
    )


@functools.cache
def create_cipher() -> RecordCipher:
    """Return a cipher with every key that a rotation may have used."""
    return RecordCipher(build_keys(ALL_KEY_IDS), bytes)
