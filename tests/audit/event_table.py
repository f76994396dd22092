"""The table of EVENTS.md, as the code has it: `python -m tests.audit.event_table` prints it."""

import sys
from collections.abc import Iterator

from otp_service.audit.exports.taxonomy import TAXONOMY_ENTRIES, TaxonomyEntry
from otp_service.core.events import EVENT_TYPES, Event
from otp_service.core.log_entry import Stamp


EXPORT_ONLY_EVENTS = {
    "log.gap": "In exports only: a gap that the archive declares",
    "log.unreadable": "In exports only: an entry that is unreadable, or whose MAC was invalid when archived",
}


def format_rows() -> Iterator[str]:
    """Yield the rows: an event, or an event with a reason that has its own meaning."""
    for kind in [*EVENT_TYPES, *EXPORT_ONLY_EVENTS]:
        for (named, reason), meaning in sorted(TAXONOMY_ENTRIES.items()):
            if named == kind:
                yield _format_row(kind, reason, meaning)


def list_own_fields(kind: str) -> list[str]:
    """Return the fields that an event has in addition to those of every event."""
    own = EVENT_TYPES[kind].__struct_fields__ if kind in EVENT_TYPES else ()
    return [name for name in own if name not in Event.__struct_fields__]


def list_all_fields() -> set[str]:
    """Return every field that an event or its stamp can have."""
    fields = {*Event.__struct_fields__, *Stamp.__struct_fields__, "type"}
    return fields.union(*(list_own_fields(kind) for kind in EVENT_TYPES))


def _format_row(kind: str, reason: str, meaning: TaxonomyEntry) -> str:
    doc = EXPORT_ONLY_EVENTS.get(kind) or (EVENT_TYPES[kind].__doc__ or "").partition("\n")[0]
    first = (kind, reason) == next(key for key in sorted(TAXONOMY_ENTRIES) if key[0] == kind)
    when = doc.replace("|", "or").rstrip(".") if first else ""
    number, activity, name = meaning.ocsf
    return " | ".join(
        (
            f"| `{kind}`" + (f" `{reason}`" if reason else ""),
            when,
            " ".join(f"`{field}`" for field in list_own_fields(kind)) if first else "",
            f"{number} {activity} {name}",
            f"{meaning.category}: {', '.join(meaning.types)}",
            f"{meaning.owasp or '-'}",
            f"{meaning.severity} |",
        )
    )


if __name__ == "__main__":
    sys.stdout.write("\n".join((*format_rows(), "")))
