"""The table of EVENTS.md, as the code has it: `python -m tests.audit.event_table` prints it."""

import sys
from collections.abc import Iterator

from otp_service.audit.exports.taxonomy import MEANINGS, Meaning
from otp_service.core.events import KINDS, Event
from otp_service.core.log_entry import Stamp


OF_EXPORTS = {
    "log.gap": "In exports only: a gap that the archive declares",
    "log.unreadable": "In exports only: an entry that is not as we wrote it, whatever it says",
}


def rows() -> Iterator[str]:
    """Give the rows: an event, or an event with a reason that means something else to others."""
    for kind in [*KINDS, *OF_EXPORTS]:
        for (named, reason), meaning in sorted(MEANINGS.items()):
            if named == kind:
                yield _row(kind, reason, meaning)


def fields_of(kind: str) -> list[str]:
    """Return the fields that an event has beside those of every event."""
    own = KINDS[kind].__struct_fields__ if kind in KINDS else ()
    return [name for name in own if name not in Event.__struct_fields__]


def every_field() -> set[str]:
    """Return every field that an event or its stamp can have."""
    fields = {*Event.__struct_fields__, *Stamp.__struct_fields__, "type"}
    return fields.union(*(fields_of(kind) for kind in KINDS))


def _row(kind: str, reason: str, meaning: Meaning) -> str:
    doc = OF_EXPORTS.get(kind) or (KINDS[kind].__doc__ or "").partition("\n")[0]
    first = (kind, reason) == next(key for key in sorted(MEANINGS) if key[0] == kind)
    when = doc.replace("|", "or").rstrip(".") if first else ""
    number, activity, name = meaning.ocsf
    return " | ".join(
        (
            f"| `{kind}`" + (f" `{reason}`" if reason else ""),
            when,
            " ".join(f"`{field}`" for field in fields_of(kind)) if first else "",
            f"{number} {activity} {name}",
            f"{meaning.category}: {', '.join(meaning.types)}",
            f"{meaning.owasp or '-'}",
            f"{meaning.severity} |",
        )
    )


if __name__ == "__main__":
    sys.stdout.write("\n".join((*rows(), "")))
