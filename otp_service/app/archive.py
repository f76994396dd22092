"""Creates the sealer of an installation's archive, and its verifier, from the settings."""

import asyncio
import time
from pathlib import Path

from otp_service.app.factories import RANDOM_SOURCE, collect_versions, create_client, create_store
from otp_service.app.system_events import append_event
from otp_service.audit.archive_format.key_files import KeyFileError, derive_public_path, read_key
from otp_service.audit.archive_format.seals import PublicKey, parse_public_keys
from otp_service.audit.sealer.archive_writer import ArchiveWriter
from otp_service.audit.sealer.environment import SealerEnvironment
from otp_service.audit.sealer.sealer import Sealer
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sinks import create_sink
from otp_service.audit.verification.background import BackgroundVerifier
from otp_service.clock import now_ms
from otp_service.core import events
from otp_service.core.timestamps import DAY_MS
from otp_service.settings import Settings
from otp_service.settings.service_tables import AuditSettings
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames


def create_archive_source(settings: Settings, client: ScriptClient) -> RedisArchiveSource:
    """Return the event log in Redis, as the sealer and its monitor use it."""
    names = KeyNames(settings.keys.limit.current)
    return RedisArchiveSource(client, names, max_stream_entries=settings.events.maximum)


async def run_sealer(settings: Settings, stop: asyncio.Event) -> None:
    """Seal the archive until `stop` is set. Raises KeyFileError."""
    audit, signer = settings.audit, create_signer(settings.audit)
    assert audit.archive_folder  # checked by the caller
    async with create_client(settings) as client:
        sealer = Sealer(
            create_archive_source(settings, client),
            ArchiveWriter(Path(audit.archive_folder), segment_bytes=audit.segment_mib << 20),
            signer,
            _create_sealer_environment(settings, client),
            seal_seconds=audit.seal_seconds,
        )
        await sealer.run(stop)


def _create_sealer_environment(settings: Settings, client: ScriptClient) -> SealerEnvironment:
    versions, audit = collect_versions(settings), settings.audit
    store = create_store(settings, client, versions)

    async def record_archive_change(reason: str, number: int) -> None:
        event = events.ArchiveChanged(
            id=RANDOM_SOURCE.token_bytes(16).hex(),
            versions=versions,
            reason=reason,
            missing=number if reason == "gap" else 0,
            seal=number if reason == "dropped" else 0,
        )
        await append_event(store, event, store.key_names.compute_partition("service"))

    return SealerEnvironment(
        holder=RANDOM_SOURCE.generate_operation_id(),
        now=now_ms,
        clock=time.monotonic,
        has_valid_mac=store.cipher.verify_event,
        record_archive_change=record_archive_change,
        retention_ms=audit.retention_days * DAY_MS,
        sinks=tuple(create_sink(name, sink) for name, sink in audit.sinks.items()),
        anchor_sinks=(create_sink("anchor", audit.anchor),) if audit.anchor else (),
    )


def create_signer(audit: AuditSettings) -> Signer:
    """Return the signer with the configured keys. Raises KeyFileError."""
    if audit.signing_key is None:
        raise KeyFileError("audit.signing_key is missing: create it with 'otp-service audit key'")
    previous = audit.previous_signing_key
    return Signer(read_key(Path(audit.signing_key)), read_key(Path(previous)) if previous else None)


def create_background_verifier(audit: AuditSettings) -> BackgroundVerifier | None:
    """Return the verifier for the page; None without an archive."""
    if audit.archive_folder is None:
        return None
    return BackgroundVerifier(Path(audit.archive_folder), lambda: _read_public_keys(audit), now_ms)


def _read_public_keys(audit: AuditSettings) -> list[PublicKey]:
    """Return the keys for verification, oldest first. Raises ValueError and OSError."""
    signing_keys = filter(None, (audit.previous_signing_key, audit.signing_key))
    files = [derive_public_path(Path(key)) for key in signing_keys]
    if audit.public_keys:
        files = [Path(audit.public_keys)]
    keys = [key for file in files for key in parse_public_keys(file.read_text("utf-8"))]
    if not keys:
        raise ValueError("audit.public_keys is missing: name the file with the public keys")
    return keys
