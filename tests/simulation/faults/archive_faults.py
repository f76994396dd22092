"""Faults of the archive: sealers die, their disk is full or fails, and what it has not synced is lost.

A run with an archive has some of them besides its other faults, and more of those of the store that lose
what is being sealed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from otp_service.audit.archive_format.entries import sequence_id_from_line
from tests.simulation.faults import process_faults, store_faults
from tests.simulation.faults.injector import FaultInjector
from tests.simulation.faults.plan import MAX_STEPS, Fault, PlannedFault, draw_fault_count
from tests.simulation.history import FaultKind
from tests.simulation.kernel.chance import Chance
from tests.simulation.redis_model.typed_values import read_fields


MAX_ABSENCE_MS: Final = 20_000
MAX_DISK_TROUBLE_MS: Final = 15_000
MAX_DISK_CALLS: Final = 24
"""Of a sealer, until it dies in one: about those of two turns."""
MAX_DISK_SECONDS: Final = 7.0
"""How slow a disk may be: longer than a lease."""
STEPS_PER_TURN: Final = 150
MEAN_TURNS: Final = 20
CALM_SHARE: Final = 0.2
"""Of the runs with an archive in which nothing is wrong with it."""


def crash_sealer(faults: FaultInjector) -> None:
    """Kill a sealer, and start it again later."""
    archive, host = faults.get_archive(), _pick_host(faults)
    _begin_absence(faults, host, partial(archive.crash, host))


def crash_sealer_in_disk_call(faults: FaultInjector) -> None:
    """Let a sealer die in a call to the disk: before its effect, after it, or with half of a write."""
    host = _pick_host(faults)
    disk = faults.get_archive().processes[host].disk
    calls = faults.chance.draw_below(MAX_DISK_CALLS)
    _begin_absence(faults, host, partial(setattr, disk, "calls_left", calls))


def stop_machine(faults: FaultInjector) -> None:
    """Let the machine of a sealer lose power in a call to the disk, and what it has not synced."""
    host, chance = _pick_host(faults), faults.chance
    process = faults.get_archive().processes[host]
    calls = chance.draw_below(MAX_DISK_CALLS)

    def die() -> None:
        process.crash()
        _lose_unsynced(faults, chance)

    def start() -> None:
        process.disk.calls_left, process.disk.die = calls, die

    _begin_absence(faults, host, start)


def lose_unsynced(faults: FaultInjector) -> None:
    """Kill the sealer of a host, and lose what no sealer has synced."""
    archive, host, chance = faults.get_archive(), _pick_host(faults), faults.chance

    def start() -> None:
        archive.crash(host)
        _lose_unsynced(faults, chance)

    _begin_absence(faults, host, start)


def fill_disk(faults: FaultInjector) -> None:
    """Let the disk take only the first half of what is written."""
    folder = faults.get_archive().folder
    start, end = (partial(setattr, folder, "is_full", value) for value in (True, False))
    faults.begin(FaultKind.ARCHIVE_DISK, "full", start, end, longest_ms=MAX_DISK_TROUBLE_MS)


def break_disk(faults: FaultInjector) -> None:
    """Let some calls fail: a write, a sync or a truncation."""
    faults.get_archive().folder.failing_calls = 1 + faults.chance.draw_below(4)
    faults.record_instant(FaultKind.ARCHIVE_DISK, "broken")


def slow_disk(faults: FaultInjector) -> None:
    """Let each call of a thread begin late, maybe when another sealer leads."""
    archive, seconds = faults.get_archive(), MAX_DISK_SECONDS * faults.chance.draw_fraction()
    start = partial(setattr, archive.threads, "extra_seconds", seconds)
    end = partial(setattr, archive.threads, "extra_seconds", 0.0)
    faults.begin(FaultKind.ARCHIVE_DISK, "slow", start, end, longest_ms=MAX_DISK_TROUBLE_MS)


def lock_folder(faults: FaultInjector) -> None:
    """Let the folder be locked, as by a sealer that is stopped in the middle of a write."""
    folder = faults.get_archive().folder
    faults.begin(
        FaultKind.ARCHIVE_DISK,
        "locked",
        folder.hold_lock,
        folder.release_lock,
        longest_ms=MAX_DISK_TROUBLE_MS,
    )


def fail_sink(faults: FaultInjector) -> None:
    """Let a sink take nothing: that of lines, or that of anchors."""
    archive = faults.get_archive()
    name = faults.chance.pick(("sink", "anchor_sink"))
    start, end = (
        partial(setattr, getattr(archive, name), "is_failing", value) for value in (True, False)
    )
    faults.begin(FaultKind.SINK_DOWN, name, start, end, longest_ms=MAX_DISK_TROUBLE_MS)


def rotate_signing_key(faults: FaultInjector) -> None:
    """Replace the sealers one after another by ones with a new signing key."""
    if not faults.get_archive().can_rotate_key():
        return
    pause_seconds = 20 * faults.chance.draw_fraction()
    hosts = [_pick_host(faults)]
    hosts += [host for host in faults.get_archive().processes if host not in hosts]
    faults.get_archive().start_rotation(hosts, pause_seconds)
    faults.record_instant(FaultKind.KEY_ROTATION, "audit.signing_key")


ARCHIVE_FAULTS: Final[Sequence[tuple[int, Fault]]] = (
    (3, crash_sealer),
    (4, crash_sealer_in_disk_call),
    (3, stop_machine),
    (1, lose_unsynced),
    (2, fill_disk),
    (2, break_disk),
    (2, slow_disk),
    (1, lock_folder),
    (2, fail_sink),
    (2, rotate_signing_key),
    (3, store_faults.fail_over),
    (2, store_faults.end_process),
    (2, store_faults.stall_replicas),
    (1, process_faults.pause_host),
)
"""The faults, and how often each is drawn."""


def draw_archive_plan(chance: Chance, calls: int) -> list[PlannedFault]:
    """Return the faults of an archive in a run with so many calls."""
    deck = [fault for weight, fault in ARCHIVE_FAULTS for _ in range(weight)]
    steps = MAX_STEPS + STEPS_PER_TURN * MEAN_TURNS // calls  # sealers take steps between two calls
    if chance.has_luck(CALM_SHARE):
        return []
    return [
        PlannedFault(
            chance.draw_below(calls),
            chance.draw_below(steps),
            chance.pick(deck),
            chance.derive(f"archive fault {number}"),
        )
        for number in range(draw_fault_count(chance))
    ]


def _pick_host(faults: FaultInjector) -> str:
    """Return a host, and mostly that of the leader."""
    archive, hosts = faults.get_archive(), [*faults.world.installation.hosts]
    leaders = [host for host in hosts if archive.processes[host].sealer.is_leader]
    return faults.chance.pick(leaders * 3 + hosts)


def _begin_absence(faults: FaultInjector, host: str, start: Callable[[], None]) -> None:
    """Let a sealer die now or soon, and start it again after a while."""
    end = partial(faults.get_archive().restart, host)
    faults.begin(FaultKind.SEALER_DOWN, host, start, end, longest_ms=MAX_ABSENCE_MS)


def _lose_unsynced(faults: FaultInjector, chance: Chance) -> None:
    """Lose what is not synced, and record the events of it that the log counts as archived."""
    archive = faults.get_archive()
    for line in archive.folder.lose_unsynced(chance):
        try:
            position = sequence_id_from_line(line)
        except ValueError:
            continue  # a seal, a gap, or a part of a line
        log = read_fields(faults.redis.server.keyspace, b"{%02d}:log" % position.partition)
        epoch, sequence = log.get(b"sequence_id", b"0-0").split(b"-")
        if (position.epoch, position.sequence) <= (int(epoch), int(sequence)):
            archive.lost_positions.append(position.id)
