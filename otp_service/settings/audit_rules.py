"""Rules for [audit], and for the keys that pseudonymize its events."""

import re
from collections.abc import Iterator

from otp_service.core.keys import Key
from otp_service.core.timestamps import DAY_MS, parse_rfc3339
from otp_service.settings.decode import ConfigIssue, build_issues
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import AuditSettings


MISSING_ANCHOR_REMEDY = (
    "is missing: a process that can write to the archive could cut off its end without a trace. "
    "Store anchors where it cannot write"
)
MISSING_ARCHIVE_REMEDY = (
    'is missing: name a folder for the events, or write "none": then they are lost with Redis, and a '
    "partition keeps events.maximum of them"
)
READABLE_KEY_REMEDY = (
    "is 'serve': the service can read the signing key, so an attacker who runs code in it can seal "
    "another history. 'otp-service audit seal' seals as another user: docs/operation.md"
)
MAX_SEAL_KEY_DAYS = 90
"""At 50 logins a second, one key seals 2^32 records in 142 days. Its nonces are random, so more would
make a repeated one likelier than NIST SP 800-38D allows (§8.3)."""

OLD_SEAL_KEY_REMEDY = (
    f"is older than {MAX_SEAL_KEY_DAYS} days: rotate it before it has sealed 2^32 records, which takes "
    "142 days at 50 logins a second (docs/key-rotation.md)"
)
UNDATED_KEY_REMEDY = (
    "has an id without a date, so 'check' cannot warn when it is older than audit.pseudonym_days: "
    "'otp-service key new --secret pseudonym' generates one to rotate to"
)
MISSING_SIGNING_KEY_REMEDY = (
    "is missing: 'otp-service audit key FILE' generates one. If 'otp-service audit seal' seals "
    "instead of 'serve', set audit.seal = \"alone\""
)


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    audit = settings.audit
    for name, sink in audit.sinks.items():
        yield from build_issues(f"audit.sinks.{name}", sink.find_errors())
    if audit.anchor is not None:
        yield from build_issues("audit.anchor", audit.anchor.find_errors())
    if audit.archive_folder is None:
        if audit.sinks or audit.anchor:
            yield ConfigIssue("audit.archive", "must be a folder: sinks receive its lines")
        elif audit.signing_key is not None:
            yield ConfigIssue("audit.archive", "must be a folder, as there is a signing key")
        elif audit.archive is None and settings.mode == "live":
            yield ConfigIssue("audit.archive", MISSING_ARCHIVE_REMEDY)
    elif audit.seal == "serve" and audit.signing_key is None:
        yield ConfigIssue("audit.signing_key", MISSING_SIGNING_KEY_REMEDY)
    if audit.previous_signing_key is not None and audit.signing_key is None:
        remedy = "needs audit.signing_key, to which it hands over"
        yield ConfigIssue("audit.previous_signing_key", remedy)


def find_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    yield from _find_archive_warnings(settings.audit)
    yield from _find_pseudonym_warnings(settings, now_ms)
    created_at = (
        _parse_creation_time(settings.keys.seal.current) if settings.keys.seal.keys else None
    )
    if created_at is not None and created_at + MAX_SEAL_KEY_DAYS * DAY_MS <= now_ms:
        yield ConfigIssue("keys.seal", OLD_SEAL_KEY_REMEDY)


def _find_archive_warnings(audit: AuditSettings) -> Iterator[ConfigIssue]:
    if audit.archive_folder is None:
        state = "is 'none'" if audit.archive else "is missing"
        remedy = f"{state}: events are lost with Redis, after events.retention_days, or under load"
        yield ConfigIssue("audit.archive", remedy)
    elif audit.anchor is None:
        yield ConfigIssue("audit.anchor", MISSING_ANCHOR_REMEDY)
    if audit.archive_folder is not None and audit.seal == "serve":
        yield ConfigIssue("audit.seal", READABLE_KEY_REMEDY)
    if audit.previous_signing_key is not None:
        remedy = "is set: remove it after the handover to audit.signing_key"
        yield ConfigIssue("audit.previous_signing_key", remedy)


def _find_pseudonym_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Yield keys that are due for rotation, and retired ones whose events are all deleted."""
    audit, keys = settings.audit, settings.keys.pseudonym.keys
    created = [_parse_creation_time(key) for key in keys]
    newest = created[0] if created else now_ms
    if newest is None and audit.archive_folder:
        yield ConfigIssue("keys.pseudonym", UNDATED_KEY_REMEDY)
    elif newest is not None and newest + audit.pseudonym_days * DAY_MS <= now_ms:
        remedy = "is older than audit.pseudonym_days: rotate it (docs/key-rotation.md)"
        yield ConfigIssue("keys.pseudonym", remedy)
    retention_days = (
        audit.retention_days if audit.archive_folder else settings.events.retention_days
    )
    for key, replaced_at in zip(keys[1:], created, strict=False):
        if replaced_at is not None and replaced_at + retention_days * DAY_MS <= now_ms:
            remedy = f"has {key.id}, and every event that used it is deleted: remove it"
            yield ConfigIssue("keys.pseudonym", remedy)


def _parse_creation_time(key: Key) -> int | None:
    """Return the day or month at the start of the key's id in milliseconds, or None."""
    date = re.match(r"(?:test-)?(\d{4}-\d\d)(-\d\d)?(?!\d)", key.id)
    try:
        return parse_rfc3339(f"{date[1]}{date[2] or '-01'}T00:00Z") if date else None
    except ValueError:
        return None
