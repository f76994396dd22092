"""`python -m bench.archive_verification`: how many events a core verifies in a second.

The archive is written to a temporary folder in the real format: 64 partitions, a seal for each
thousand events, segments as large as those of the service.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otp_service.audit.verification.findings import VerificationReport
from otp_service.audit.verification.verifier import verify_folder
from otp_service.core.challenge import PARTITION_COUNT
from tests.audit.archive_builder import ArchiveBuilder


BATCH_EVENTS, SEGMENT_EVENTS = 1000, 150_000
"""Events under a seal (100 a second, sealed every 10 s), and in a segment of about 64 MiB."""

FULL_EVENT: dict[str, Any] = {
    "key_id": "2026-11-24-9f3a",
    "request": "0" * 32,
    "client_ip": "203.0.113.9",
    "purpose": "login",
    "challenge": "07" + "0" * 30,
    "number": "2026-11:" + "0" * 32,
    "country": "GB",
    "number_suffix": "56",
    "versions": {"config": "0" * 12, "pepper": "1", "seal": "1", "state": "1", "limit": "1"},
    "outcome": "success",
}
"""The fields of an event with every optional field."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.archive_verification", description=__doc__
    )
    parser.add_argument(
        "--events", type=int, default=1_000_000, help="events in the archive (1000000)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        sys.stderr.write(f"bench: write {args.events:,} events\n")
        archive = write_archive(Path(folder), args.events)
        sys.stdout.write("\n".join(measure_rounds(archive, args.rounds)) + "\n")
    return 0


def write_archive(folder: Path, events: int) -> ArchiveBuilder:
    """Write an archive of this many events, all of them sealed."""
    archive = ArchiveBuilder(folder)
    for count in range(1, events + 1):
        archive.add_event(count % PARTITION_COUNT, **FULL_EVENT)
        if count % BATCH_EVENTS == 0 or count == events:
            archive.append_seal()
        if count % SEGMENT_EVENTS == 0:
            archive.start_segment()
    return archive


def measure_rounds(archive: ArchiveBuilder, rounds: int) -> Iterator[str]:
    """Yield one line a round, in CPU time: it is one thread, and the machine may have other work."""
    size = sum(path.stat().st_size for path in archive.folder.glob("*/*"))
    yield f"{platform.machine()}, Python {platform.python_version()}; {size / 2**20:.0f} MiB"
    for _ in range(rounds):
        began, cpu = time.perf_counter(), time.process_time()
        report = verify_folder(archive.folder, archive.keys)
        yield format_round(report, time.perf_counter() - began, time.process_time() - cpu)


def format_round(report: VerificationReport, seconds: float, cpu: float) -> str:
    result = "sound" if report.is_sound else f"{report.found}"
    rate = report.events / cpu
    return (
        f"verify    {report.events:>10,} events  {rate:>9,.0f}/s a core  {seconds:6.1f} s  {result}"
    )


if __name__ == "__main__":
    sys.exit(main())
