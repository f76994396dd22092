"""The archive of an installation: who seals it, and what verifies it."""

import asyncio
import time
from pathlib import Path

from otp_service.app.factories import RANDOM, link_of, now, store_of, versions
from otp_service.audit.archive_format.key_files import KeyFileUnusable, public_path, read_key
from otp_service.audit.archive_format.seals import PublicKey, public_keys
from otp_service.audit.sealer.archive_writer import Folder
from otp_service.audit.sealer.ports import Outside
from otp_service.audit.sealer.sealer import Sealer
from otp_service.audit.sealer.signer import Signing
from otp_service.audit.sinks import sink_of
from otp_service.audit.verification.background import Verifications
from otp_service.core import events
from otp_service.core.limits import DAY
from otp_service.core.policy import SECOND
from otp_service.core.ports import Commit
from otp_service.settings import Settings
from otp_service.settings.model import Audit
from otp_service.store.archive_source import RedisSealing
from otp_service.store.client import Link
from otp_service.store.key_names import Names


def sealing_of(settings: Settings, link: Link) -> RedisSealing:
    """Return what a sealer, and who watches it, asks of Redis."""
    names = Names(settings.keys.limit.current)
    return RedisSealing(link, names, maximum=settings.events.maximum)


async def seal(settings: Settings, stop: asyncio.Event) -> None:
    """Seal the archive of these settings until `stop` is set. Raises KeyFileUnusable."""
    signing = signing_of(settings.audit)
    async with link_of(settings) as link:
        sealer = Sealer(
            sealing_of(settings, link),
            folder_of(settings.audit),
            signing,
            _outside(settings, link),
            seal_seconds=settings.audit.seal_seconds,
        )
        await sealer.run(stop)


def _outside(settings: Settings, link: Link) -> Outside:
    told, audit = versions(settings), settings.audit
    store = store_of(settings, link, told)

    async def tell(reason: str, number: int) -> None:
        event = events.ArchiveChanged(
            id=RANDOM.bytes(16).hex(),
            versions=told,
            reason=reason,
            missing=number if reason == "gap" else 0,
            seal=number if reason == "dropped" else 0,
        )
        partition, operation = store.names.partition("service"), RANDOM.operation()
        await store.commit(Commit(partition=partition, operation=operation, events=(event,)))

    return Outside(
        holder=RANDOM.operation(),
        now=now,
        clock=time.monotonic,
        is_ours=store.vault.verify,
        tell=tell,
        retention=audit.retention_days * DAY * SECOND,
        sinks=tuple(sink_of(name, one) for name, one in audit.sinks.items()),
        anchors=(sink_of("anchor", audit.anchor),) if audit.anchor else (),
    )


def signing_of(audit: Audit) -> Signing:
    """Return the keys that seal. Raises KeyFileUnusable."""
    if audit.signing_key is None:
        raise KeyFileUnusable("audit.signing_key is missing: 'otp-service audit key' makes one")
    previous = audit.previous_signing_key
    return Signing(
        read_key(Path(audit.signing_key)), read_key(Path(previous)) if previous else None
    )


def folder_of(audit: Audit) -> Folder:
    """Return the archive's folder, to write to."""
    assert audit.archive  # the caller has looked
    return Folder(Path(audit.archive), segment_bytes=audit.segment_mib << 20)


def verifications_of(audit: Audit) -> Verifications | None:
    """Return what verifies the archive for the page, where there is one."""
    if audit.archive is None:
        return None
    return Verifications(Path(audit.archive), lambda: _public_keys(audit), now)


def _public_keys(audit: Audit) -> list[PublicKey]:
    """Return the keys to verify with, oldest first. Raises ValueError and OSError."""
    own = [public_path(Path(key)) for key in (audit.previous_signing_key, audit.signing_key) if key]
    files = [Path(audit.public_keys)] if audit.public_keys else own
    found = [key for file in files for key in public_keys(file.read_text("utf-8"))]
    if not found:
        raise ValueError("audit.public_keys is missing: name the file with the public keys")
    return found
