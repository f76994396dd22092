"""Whether the archive is sound, as the page has it verified."""

import threading
from pathlib import Path

import pytest

from otp_service.audit.archive_format import segments as segments_module
from otp_service.audit.archive_format.segments import list_segments
from otp_service.audit.verification import background
from otp_service.audit.verification.background import VERIFICATION_INTERVAL_MS, BackgroundVerifier
from tests.audit.archive_builder import START_MS, ArchiveBuilder, build_standard_archive


class Clock:
    """What time it is."""

    now = START_MS

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def archive(tmp_path: Path) -> ArchiveBuilder:
    """A sound one."""
    return build_standard_archive(tmp_path)


def verifications_of(archive: ArchiveBuilder, clock: Clock | None = None) -> BackgroundVerifier:
    return BackgroundVerifier(archive.folder, lambda: archive.keys, clock or Clock())


async def verified_now(verifications: BackgroundVerifier) -> background.VerificationRun:
    """Return what is found now."""
    verifications.start_run()
    await verifications.wait_until_done()
    assert verifications.last_run
    return verifications.last_run


async def test_a_sound_archive_is_told_with_its_last_seal(archive) -> None:
    """Up to where, and when that was found."""
    last = await verified_now(verifications_of(archive))

    assert last.report
    assert last.report.is_sound
    assert last.report.verified
    assert (archive.number, archive.previous) == (
        last.report.verified.number,
        last.report.verified.hash,
    )
    assert (START_MS, None) == (last.started_at, last.error)


async def test_a_tail_that_was_cut_off_since_is_found(archive) -> None:
    """R72: what was sound once is the anchor of all later runs."""
    verifications = verifications_of(archive)
    await verified_now(verifications)
    list_segments(archive.folder)[-1].unlink()

    for _ in range(2):
        last = await verified_now(verifications)
        assert last.report
        assert {"truncated": 1} == last.report.found


@pytest.mark.parametrize(
    ("keys", "folder", "says"),
    [
        (lambda: Path("/nowhere/audit.pub").read_text(), "", "cannot read /nowhere/audit.pub"),
        (lambda: int("no key"), "", "invalid literal"),
        (list, "nowhere", "is not a folder"),
    ],
)
async def test_what_keeps_from_verifying_is_told(archive, keys, folder, says) -> None:
    """Instead of an old result, or of nothing."""
    verifications = BackgroundVerifier(archive.folder / folder, keys, Clock())

    last = await verified_now(verifications)

    assert last.report is None
    assert last.error
    assert says in last.error


async def test_who_only_looks_begins_one_seldom(archive) -> None:
    """And the seldomer, the longer it takes."""
    clock = Clock()
    verifications = verifications_of(archive, clock)
    first = await verified_now(verifications)

    clock.now += VERIFICATION_INTERVAL_MS - 1
    verifications.start_if_due()
    assert not verifications.is_running
    clock.now += 1
    verifications.start_if_due()
    await verifications.wait_until_done()
    assert verifications.last_run is not first

    assert verifications.last_run
    verifications.last_run = background.VerificationRun(
        started_at=clock.now, duration_ms=VERIFICATION_INTERVAL_MS, report=None, error=""
    )
    clock.now += VERIFICATION_INTERVAL_MS * 2
    verifications.start_if_due()
    assert not verifications.is_running


async def test_there_is_one_at_a_time_and_it_ends_with_the_process(archive, monkeypatch) -> None:
    """One run is active however often it is requested; shutdown does not wait for gigabytes."""
    runs, may_read = [], threading.Event()

    def whole_lines(path):
        runs.append(path)
        may_read.wait(10)
        yield from [b"x\n"] * 1000

    monkeypatch.setattr(segments_module, "iterate_raw_lines", whole_lines)
    verifications = verifications_of(archive)
    for _ in range(3):
        verifications.start_run()
    assert verifications.is_running

    verifications._stop.set()
    may_read.set()
    await verifications.aclose()
    verifications.start_run()

    assert 1 == len(runs)
    assert verifications.last_run is None
    assert not verifications.is_running


async def test_an_archive_without_a_seal_is_not_called_sound(archive) -> None:
    """Nothing of it is verified, and an attacker may have emptied the folder."""
    for path in list_segments(archive.folder):
        path.unlink()

    last = await verified_now(verifications_of(archive))

    assert last.report
    assert not last.report.is_sound


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), RuntimeError("odd")])
async def test_a_run_that_fails_in_any_way_is_told(archive, monkeypatch, error) -> None:
    """Or the page would say for ever that it is being verified."""
    verifications = verifications_of(archive)

    def fail(*_args, **_more):
        raise error

    monkeypatch.setattr(background, "verify_folder", fail)

    last = await verified_now(verifications)

    assert last.report is None
    assert type(error).__name__ in (last.error or "")
