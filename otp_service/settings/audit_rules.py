"""What is unsafe or unwise in [audit], and in the key that its pseudonyms are made with."""

import re
from collections.abc import Iterator

from otp_service.core.keys import Key
from otp_service.core.timestamps import DAY_MS, parse_rfc3339
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import AuditSettings, Settings


MISSING_ANCHOR_REMEDY = (
    "is missing: whoever can write to the archive could cut off its end, and nobody would see it. "
    "Keep anchors where he cannot write"
)
UNDATED_KEY_REMEDY = (
    "has an id that says no date, so nobody is told when it is older than audit.pseudonym_days: "
    "'otp-service key new --secret pseudonym' makes one to rotate to"
)
MISSING_SIGNING_KEY_REMEDY = (
    "is missing: 'otp-service audit key FILE' makes one. Where somebody else seals, who runs "
    "'otp-service audit seal', say audit.seal = \"alone\""
)


def find_errors(audit: AuditSettings) -> Iterator[ConfigIssue]:
    """Tell what is refused."""
    places = {f"sinks.{name}": sink for name, sink in audit.sinks.items()}
    for place, one in (places | ({"anchor": audit.anchor} if audit.anchor else {})).items():
        for field, remedy in one.find_errors():
            yield ConfigIssue(f"audit.{place}.{field}", remedy)
    if audit.archive is None:
        if audit.sinks or audit.anchor:
            yield ConfigIssue("audit.archive", "is missing: sinks get the lines that stand in it")
        if audit.signing_key is not None:
            yield ConfigIssue(
                "audit.archive", "is missing, and there is a signing key: name a folder"
            )
    elif audit.seal == "serve" and audit.signing_key is None:
        yield ConfigIssue("audit.signing_key", MISSING_SIGNING_KEY_REMEDY)
    if audit.previous_signing_key is not None and audit.signing_key is None:
        yield ConfigIssue(
            "audit.previous_signing_key", "has nobody to hand over to: audit.signing_key"
        )


def find_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Tell what is worth a second look; `now` is in milliseconds since 1970."""
    yield from _find_archive_warnings(settings.audit)
    yield from _find_pseudonym_warnings(settings, now_ms)


def _find_archive_warnings(audit: AuditSettings) -> Iterator[ConfigIssue]:
    if audit.archive is None:
        yield ConfigIssue("audit.archive", "is missing: events are gone when Redis is, or in days")
    elif audit.anchor is None:
        yield ConfigIssue("audit.anchor", MISSING_ANCHOR_REMEDY)
    if audit.previous_signing_key is not None:
        yield ConfigIssue(
            "audit.previous_signing_key", "is there: take it out once it has handed over"
        )


def _find_pseudonym_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Tell of a key that is to be rotated, and of retired ones that name nothing any more."""
    audit, keys = settings.audit, settings.keys.pseudonym.keys
    made = [_parse_creation_time(key) for key in keys]
    if made and made[0] is None and audit.archive:
        yield ConfigIssue("keys.pseudonym", UNDATED_KEY_REMEDY)
    elif made and made[0] is not None and made[0] + audit.pseudonym_days * DAY_MS <= now_ms:
        yield ConfigIssue(
            "keys.pseudonym", "is older than audit.pseudonym_days: docs/key-rotation.md, rotate it"
        )
    kept = audit.retention_days if audit.archive else settings.events.retention_days
    for key, successor in zip(keys[1:], made, strict=False):
        if successor is not None and successor + kept * DAY_MS <= now_ms:
            yield ConfigIssue(
                "keys.pseudonym", f"has {key.id}, and nothing is kept that it named: end it"
            )


def _parse_creation_time(key: Key) -> int | None:
    """Return when a key was made, in milliseconds, if its id begins with that day or month."""
    found = re.match(r"(\d{4}-\d\d)(-\d\d)?(?!\d)", key.id)
    try:
        return parse_rfc3339(f"{found[1]}{found[2] or '-01'}T00:00Z") if found else None
    except ValueError:
        return None
