"""Bugs of the sealer: what it archives after a crash, when it marks, and what a seal states."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from otp_service.audit.sealer import archive_writer, sink_delivery
from otp_service.audit.sealer.archive_writer import ArchiveWriter
from otp_service.audit.sealer.disk import Disk
from otp_service.audit.sealer.partition_lines import PartitionLines
from tests.simulation.auditor.violation import Promise
from tests.simulation.planted.planted_bug import PlantedBug, replace_part


def _keep(original: Any) -> Any:
    """Replace nothing: the name has to be there, because an instance hides it for a moment."""
    return original


@contextmanager
def skip_disk_call(method: str, call: str) -> Iterator[None]:
    """Leave a call to the disk out of a method of the writer."""

    def build(original: Any) -> Any:
        def run(self: Any, *arguments: Any) -> Any:
            setattr(self._disk, call, lambda *_: None)
            try:
                return original(self, *arguments)
            finally:
                delattr(self._disk, call)

        return run

    with replace_part(Disk, call, _keep), replace_part(ArchiveWriter, method, build):
        yield


def mark_before_sync() -> AbstractContextManager[None]:
    return skip_disk_call("_write_lines", "sync_file")


def keep_failed_write() -> AbstractContextManager[None]:
    return skip_disk_call("_write_lines", "truncate_file")


@contextmanager
def seal_again() -> Iterator[None]:
    def build(original: Any) -> Any:
        def recover_state(folder: Any) -> Any:
            state, segment, size = original(folder)
            if state.is_sealed and state.seal_number:
                state.seal_number -= 1
            return state, segment, size

        return recover_state

    with replace_part(archive_writer, "recover_state", build):
        yield


@contextmanager
def archive_unmarked_again() -> Iterator[None]:
    def build(original: Any) -> Any:
        def get_last_sequence(self: Any, epoch: int) -> Any:
            marked_epoch, sequence = self._pending.sequence_id or (0, 0)
            if epoch not in self._last_sequences and marked_epoch == epoch:
                self._last_sequences[epoch] = sequence
            return original(self, epoch)

        return get_last_sequence

    with replace_part(PartitionLines, "_get_last_sequence", build):
        yield


@contextmanager
def leave_out_replay() -> Iterator[None]:
    with replace_part(sink_delivery, "read_undelivered", lambda _: lambda *_: []):
        yield


@contextmanager
def hand_over_without_heads() -> Iterator[None]:
    def build(original: Any) -> Any:
        def append_seal(self: Any, *arguments: Any) -> Any:
            self._open_segment = lambda _: delattr(self, "_open_segment")
            return original(self, *arguments)

        return append_seal

    with (
        replace_part(ArchiveWriter, "_open_segment", _keep),
        replace_part(ArchiveWriter, "append_seal", build),
    ):
        yield


BUGS: Final = tuple(
    PlantedBug(name=name, what=what, promises=frozenset({Promise.ARCHIVE}), plant=plant)
    for name, what, plant in (
        (
            "mark before sync",
            "the sealer marks entries as archived before their lines are durable",
            mark_before_sync,
        ),
        (
            "keep a failed write",
            "a write that has failed leaves its first half in the segment",
            keep_failed_write,
        ),
        ("seal twice", "the next leader seals again what the last seal covers", seal_again),
        (
            "archive what is not marked",
            "the next leader trusts the marks in Redis, and not what the folder has",
            archive_unmarked_again,
        ),
        (
            "deliver nothing again",
            "the next leader does not deliver what a dead one may not have",
            leave_out_replay,
        ),
        (
            "handover without heads",
            "a handover of the signing key that begins a segment has no heads",
            hand_over_without_heads,
        ),
    )
)
