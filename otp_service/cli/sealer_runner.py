"""Running the sealer: in a thread of `serve`'s parent, or as a program of its own.

A thread with a loop of its own, because a disk that hangs must hang neither the admin listener nor
the supervisor; and no process of its own, because there would be one more to start, replace and
bury, and the parent has nothing that the signing key would have to be kept from.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from otp_service import telemetry
from otp_service.app import create_signer, run_sealer
from otp_service.audit.archive_format.key_files import KeyFileError, find_next_key_id
from otp_service.cli.command import CommandError, format_list
from otp_service.cli.common import read_safe_settings
from otp_service.cli.loop_thread import LoopThread
from otp_service.settings import Settings
from otp_service.settings.model import AuditSettings


logger = logging.getLogger(__name__)


class SealerThread(LoopThread):
    """Seals the archive of these settings, from `start` to `stop`."""

    def __init__(self) -> None:
        super().__init__(run_sealer)

    def stop(self, timeout_seconds: float) -> bool:
        """Seal what is there, for at most `patience` seconds: a disk may hang."""
        if super().stop(timeout_seconds):
            return True
        logger.error("the archive is not sealed to its end: its disk takes too long")
        return False


def find_sealer_errors(audit: AuditSettings) -> Iterator[str]:
    """Tell what of the files keeps this user of this machine from sealing, if he is to."""
    if audit.archive is None or audit.signing_key is None:
        return
    folder = Path(audit.archive).absolute()
    try:
        signing, right = create_signer(audit), find_next_key_id(folder)
        if right not in {None, *(key.public.id for key in signing if key)}:
            yield f"audit.previous_signing_key: the archive is sealed by {right}: name that key's file"
    except (KeyFileError, ValueError, OSError) as error:
        yield f"audit.signing_key: {error}"
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield f"audit.archive: {there} is no folder that may be written to: chown or mount it"


def require_usable_archive(settings: Settings) -> None:
    """Refuse to begin where nothing could be sealed. Raises CommandError."""
    if found := list(find_sealer_errors(settings.audit)):
        raise CommandError(f"the archive cannot be written:\n{format_list(found)}")


def run_sealer_process(config: Path) -> int:
    """Seal until SIGTERM or SIGINT; with the settings as they are then after each SIGHUP."""
    telemetry.configure_logging("info", sys.stdout)
    while asyncio.run(_seal_until_signal(_read_sealer_settings(config))):
        logger.info("the settings are read again")
    return 0


def _read_sealer_settings(config: Path) -> Settings:
    settings = read_safe_settings(config)
    if settings.audit.archive is None:
        raise CommandError("audit.archive is missing: name the folder of the archive")
    if settings.audit.signing_key is None:
        raise CommandError("audit.signing_key is missing: 'otp-service audit key FILE' makes one")
    require_usable_archive(settings)
    return settings


async def _seal_until_signal(settings: Settings) -> bool:
    """Seal until a signal comes; return whether it was SIGHUP."""
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def request_reload() -> None:
        again.set()
        stop.set()

    loop.add_signal_handler(signal.SIGHUP, request_reload)
    await run_sealer(settings, stop)
    return again.is_set()
