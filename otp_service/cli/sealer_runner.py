"""Running the sealer: in a thread of `serve`'s supervisor, or as `audit seal`.

SIGHUP stops it and starts it again with the new settings. `serve` has no separate process for it:
that would be one more process to start, replace and stop, and the supervisor holds nothing that must
be isolated from the signing key.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from otp_service import telemetry
from otp_service.app import create_signer, run_sealer
from otp_service.audit.archive_format.key_files import KeyFileError, find_next_key_id
from otp_service.audit.sinks import FileSinkSettings
from otp_service.cli.command import CommandError, format_list
from otp_service.cli.common import read_safe_settings
from otp_service.cli.loop_thread import LoopThread
from otp_service.cli.path_permissions import find_archive_errors
from otp_service.settings import Settings
from otp_service.settings.service_tables import AuditSettings


logger = logging.getLogger(__name__)

ANCHOR_IN_ARCHIVE_REMEDY = (
    "is inside audit.archive: a process that can cut off the archive's end can change the anchor, too. "
    "Name a file where it cannot write"
)


class SealerThread(LoopThread):
    """Seals the archive from `start` to `stop`."""

    def __init__(self) -> None:
        super().__init__(run_sealer)

    def stop(self, timeout_seconds: float) -> bool:
        """Seal the events that are left; return False if the disk takes longer than the timeout."""
        if super().stop(timeout_seconds):
            return True
        logger.error("the last events are not sealed: the disk of the archive takes too long")
        return False


def find_sealer_errors(audit: AuditSettings) -> Iterator[str]:
    """Yield what keeps this user from sealing on this machine, and an anchor in the wrong place."""
    if audit.archive_folder is None:
        return
    if isinstance(audit.anchor, FileSinkSettings):
        anchor = Path(audit.anchor.path).resolve()
        if anchor.is_relative_to(Path(audit.archive_folder).resolve()):
            yield f"audit.anchor.path: {ANCHOR_IN_ARCHIVE_REMEDY}"
    if audit.signing_key is None:
        return
    folder = Path(audit.archive_folder).absolute()
    try:
        keys, next_id = create_signer(audit), find_next_key_id(folder)
        if next_id not in {None, *(key.public.id for key in keys if key)}:
            yield f"audit.previous_signing_key: the archive is sealed by {next_id}: name that key's file"
    except (KeyFileError, ValueError, OSError) as error:
        yield f"audit.signing_key: {error}"
    yield from find_archive_errors(audit)


def require_usable_archive(settings: Settings) -> None:
    """Raise CommandError if the archive cannot be sealed with these settings."""
    if errors := list(find_sealer_errors(settings.audit)):
        raise CommandError(f"the archive cannot be written:\n{format_list(errors)}")


def run_sealer_process(config: Path) -> int:
    """Seal until SIGTERM or SIGINT; SIGHUP reads the settings again."""
    telemetry.configure_logging("info", sys.stdout)
    settings = _read_sealer_settings(config)
    while asyncio.run(_seal_until_signal(settings)):
        logger.info("reading the settings again")
        settings = _read_changed_settings(config, settings)
    return 0


def _read_changed_settings(config: Path, in_force: Settings) -> Settings:
    """Return the settings for a reload; those in force, with a log line, if they cannot be used."""
    try:
        return _read_sealer_settings(config)
    except CommandError as error:
        for line in filter(None, map(str.strip, str(error).splitlines())):
            logger.error(  # noqa: TRY400  # the reason is for operators
                "the reload is refused: the sealer keeps its configuration",
                extra={"fields": {"reason": line}},
            )
        return in_force


def _read_sealer_settings(config: Path) -> Settings:
    settings = read_safe_settings(config)
    if settings.audit.archive_folder is None:
        raise CommandError("audit.archive is missing: name the folder of the archive")
    if settings.audit.signing_key is None:
        raise CommandError("audit.signing_key is missing: 'otp-service audit key FILE' makes one")
    require_usable_archive(settings)
    return settings


async def _seal_until_signal(settings: Settings) -> bool:
    """Seal until a signal comes; return whether it was SIGHUP."""
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def request_reload() -> None:
        reload.set()
        stop.set()

    loop.add_signal_handler(signal.SIGHUP, request_reload)
    await run_sealer(settings, stop)
    return reload.is_set()
