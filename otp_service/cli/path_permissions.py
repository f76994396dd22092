"""Files and folders of the settings: what the user of this process may not read or write.

Each is reported with its setting, its path and its owner, before the service starts. Nothing is changed.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from otp_service.audit.sinks import FileSinkSettings
from otp_service.settings import Settings
from otp_service.settings.service_tables import AuditSettings


def find_path_errors(settings: Settings) -> Iterator[str]:
    """Yield each path that this user may not use as the service does, but the archive that it seals."""
    audit = settings.audit
    yield from _find_unreadable("redis.tls_ca", settings.redis.tls_ca)
    yield from _find_unreadable("audit.public_keys", audit.public_keys)
    for name, sink in audit.sinks.items():
        yield from _find_unreadable(f"audit.sinks.{name}.tls_ca", getattr(sink, "tls_ca", None))
    anchor = audit.anchor
    if isinstance(anchor, FileSinkSettings):
        if audit.signing_key is not None:
            yield from _find_unwritable("audit.anchor.path", Path(anchor.path))
    else:
        yield from _find_unreadable("audit.anchor.tls_ca", getattr(anchor, "tls_ca", None))
    if audit.signing_key is None and audit.archive_folder is not None:
        folder = Path(audit.archive_folder)
        if folder.exists() and (fault := _find_fault(folder, os.R_OK | os.X_OK)):
            yield f"audit.archive: {fault}"


def find_archive_errors(audit: AuditSettings) -> Iterator[str]:
    """Yield the first path of the archive, from its folder to its newest file, that cannot be written."""
    assert audit.archive_folder is not None
    folder = Path(audit.archive_folder).absolute()
    if folder.exists() and not folder.is_dir():
        yield f"audit.archive: {folder} is a file: name a folder"
        return
    if not folder.exists():
        yield from _find_unwritable("audit.archive", folder)
        return
    for path in (folder, *_list_newest_paths(folder)):
        needed = os.W_OK | os.X_OK if path.is_dir() else os.R_OK | os.W_OK
        if fault := _find_fault(path, needed):
            yield f"audit.archive: {fault}"
            return


def _list_newest_paths(folder: Path) -> Iterator[Path]:
    """Yield what the sealer writes next to its lock: the folder of the newest day, and its last file."""
    if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
        return
    yield from sorted(path for path in folder.iterdir() if path.is_file())
    days = sorted(path for path in folder.iterdir() if path.is_dir())
    yield from days[-1:]
    for day in days[-1:]:
        if os.access(day, os.R_OK | os.X_OK, effective_ids=True):
            yield from sorted(day.iterdir())[-1:]


def _find_unreadable(setting: str, path: str | None) -> Iterator[str]:
    if path is not None and (fault := _find_fault(Path(path), os.R_OK)):
        yield f"{setting}: {fault}"


def _find_unwritable(setting: str, path: Path) -> Iterator[str]:
    """Yield why a file or folder cannot be written, or created in the nearest folder that exists."""
    if path.exists():
        fault = _find_fault(path, os.W_OK)
    else:
        parent = next(parent for parent in path.absolute().parents if _exists(parent))
        fault = _find_fault(parent, os.W_OK | os.X_OK)
        fault = fault and f"{path} cannot be created: {fault}"
    if fault:
        yield f"{setting}: {fault}"


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _find_fault(path: Path, needed: int) -> str:
    """Return why this user may not use a path, with the remedy; empty if it may."""
    try:
        status = path.stat()
    except OSError as error:
        remedy = (
            "" if error.errno == errno.ENOENT else f": let user {_name_user()} enter its folders"
        )
        return f"{path}: {error.strerror}{remedy}"
    if os.access(path, needed, effective_ids=True):
        return ""
    action = "written" if needed & os.W_OK else "read"
    owner, mode = _name_user(status.st_uid), stat.filemode(status.st_mode)
    remedy = (
        "chown or chmod it, or mount it for writing" if action == "written" else "chown or chmod it"
    )
    return f"{path} cannot be {action} by user {_name_user()}; it is {mode} of {owner}: {remedy}"


def _name_user(uid: int | None = None) -> str:
    """Return the name of a user, or the id of one without a name (containers)."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
