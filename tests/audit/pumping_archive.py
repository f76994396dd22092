"""A sealed archive with people who log in, and an attack on three ranges, for replays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tests.audit.archive_builder import START_MS, ArchiveBuilder


PRICE = 8_000
DAYS = 4
ATTACK_START_MS = START_MS + 3 * DAY_MS + 2 * HOUR_MS
ATTACK_STEP_MS = 15 * SECOND_MS
ATTACKED_RANGES, ATTACK_SENDS = 3, 120

DatedEvent = tuple[int, dict[str, Any]]


def write_pumping_archive(folder: Path) -> ArchiveBuilder:
    """Write four days with a login each ten minutes, of which two of three verify, and an attack of 30 min."""
    archive, day = ArchiveBuilder(folder), 0
    dated = sorted(list_events(), key=lambda event: event[0])
    for count, (at, fields) in enumerate(dated):
        if at // DAY_MS != day and archive.heads:
            archive.append_seal()
            archive.start_segment()
        day = at // DAY_MS
        archive.now = at - SECOND_MS  # the builder adds a second for each event
        archive.add_event(int(fields["challenge"][1:], 16) % 64, id=f"{count:032x}", **fields)
    archive.append_seal()
    return archive


def list_events() -> Iterator[DatedEvent]:
    """Yield the events of all challenges with their instants, in any order."""
    for index in range(DAYS * DAY_MS // (10 * MINUTE_MS)):
        at = START_MS + index * 10 * MINUTE_MS
        yield from list_challenge(at, index, f"honest{index % 97:02}", verifies=index % 3 > 0)
    for index in range(ATTACK_SENDS):
        at = ATTACK_START_MS + index * ATTACK_STEP_MS
        name = f"attack{index % ATTACKED_RANGES}0"
        yield from list_challenge(at, 10_000 + index, name, verifies=False)


def list_challenge(at: int, index: int, name: str, *, verifies: bool) -> Iterator[DatedEvent]:
    """Yield an issue to a number of this range, whose message a provider takes, and its verification."""
    fields = {
        "challenge": f"c{index:032x}",
        "number": f"1:{index:032x}",
        "country": "US",
        "tenant": "shop",
    }
    names = {"prefix": f"1:{name}", "block": f"1:{name[:-1]}"}
    yield at, {"type": "otp.issued", **fields, **names, "price": PRICE, "measure": "unverified"}
    yield at, {"type": "otp.sent", **fields, "provider": "one", "milliseconds": 90}
    if verifies:
        yield at + 20 * SECOND_MS, {"type": "otp.attempted", **fields}
        yield at + 20 * SECOND_MS, {"type": "otp.verified", **fields}
