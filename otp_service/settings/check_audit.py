"""What is unsafe or unwise in [audit], and in the key that its pseudonyms are made with."""

import re
from collections.abc import Iterator
from datetime import datetime

from otp_service.core.keys import Key
from otp_service.settings.decode import Fault
from otp_service.settings.model import Audit, Settings


DAY = 24 * 3600 * 1000

NO_ANCHOR = (
    "is missing: whoever can write to the archive could cut off its end, and nobody would see it. "
    "Keep anchors where he cannot write"
)
NO_DATE = (
    "has an id that says no date, so nobody is told when it is older than audit.pseudonym_days: "
    "'otp-service key new --secret pseudonym' makes one to rotate to"
)
NO_SIGNING_KEY = (
    "is missing: 'otp-service audit key FILE' makes one. Where somebody else seals, who runs "
    "'otp-service audit seal', say audit.seal = \"alone\""
)


def faults(audit: Audit) -> Iterator[Fault]:
    """Tell what is refused."""
    places = {f"sinks.{name}": sink for name, sink in audit.sinks.items()}
    for place, one in (places | ({"anchor": audit.anchor} if audit.anchor else {})).items():
        for field, remedy in one.faults():
            yield Fault(f"audit.{place}.{field}", remedy)
    if audit.archive is None:
        if audit.sinks or audit.anchor:
            yield Fault("audit.archive", "is missing: sinks get the lines that stand in it")
        if audit.signing_key is not None:
            yield Fault("audit.archive", "is missing, and there is a signing key: name a folder")
    elif audit.seal == "serve" and audit.signing_key is None:
        yield Fault("audit.signing_key", NO_SIGNING_KEY)
    if audit.previous_signing_key is not None and audit.signing_key is None:
        yield Fault("audit.previous_signing_key", "has nobody to hand over to: audit.signing_key")


def warnings(settings: Settings, now: int) -> Iterator[Fault]:
    """Tell what is worth a second look; `now` is in milliseconds since 1970."""
    yield from _archive_warnings(settings.audit)
    yield from _pseudonym_warnings(settings, now)


def _archive_warnings(audit: Audit) -> Iterator[Fault]:
    if audit.archive is None:
        yield Fault("audit.archive", "is missing: events are gone when Redis is, or in days")
    elif audit.anchor is None:
        yield Fault("audit.anchor", NO_ANCHOR)
    if audit.previous_signing_key is not None:
        yield Fault("audit.previous_signing_key", "is there: take it out once it has handed over")


def _pseudonym_warnings(settings: Settings, now: int) -> Iterator[Fault]:
    """Tell of a key that is to be rotated, and of retired ones that name nothing any more."""
    audit, keys = settings.audit, settings.keys.pseudonym.keys
    made = [_made(key) for key in keys]
    if made and made[0] is None and audit.archive:
        yield Fault("keys.pseudonym", NO_DATE)
    elif made and made[0] is not None and made[0] + audit.pseudonym_days * DAY <= now:
        yield Fault("keys.pseudonym", "is older than audit.pseudonym_days: ROTATION.md, rotate it")
    kept = audit.retention_days if audit.archive else settings.events.retention_days
    for key, successor in zip(keys[1:], made, strict=False):
        if successor is not None and successor + kept * DAY <= now:
            yield Fault(
                "keys.pseudonym", f"has {key.id}, and nothing is kept that it named: end it"
            )


def _made(key: Key) -> int | None:
    """Return when a key was made, in milliseconds, if its id begins with that day or month."""
    found = re.match(r"(\d{4}-\d\d)(-\d\d)?(?!\d)", key.id)
    try:
        day = datetime.fromisoformat(f"{found[1]}{found[2] or '-01'}T00:00Z") if found else None
    except ValueError:
        return None
    return int(day.timestamp() * 1000) if day else None
