"""ECS 9.4.0, the Elastic Common Schema.

The number's pseudonym is `user.hash`, the account's is `user.id`, and the provider is
`service.target.name`. Members without an ECS field are labels, and labels are text.
"""

from typing import Any, Final

from otp_service import __version__
from otp_service.audit.exports.export_record import UNMAPPED_FIELDS, ExportRecord
from otp_service.core.timestamps import format_rfc3339


ECS_VERSION: Final = "9.4.0"
SERVICE_NAME: Final = "otp-service"

ECS_OUTCOMES: Final = frozenset({"success", "failure"})

LABEL_FIELDS: Final = UNMAPPED_FIELDS | {"count"}


def to_ecs(record: ExportRecord) -> dict[str, Any]:
    """Return the event in ECS, with nested fields."""
    get_field = record.get_field
    number, address = get_field("number"), get_field("client_ip")
    fields = {
        "@timestamp": format_rfc3339(record.at),
        "ecs.version": ECS_VERSION,
        "message": " ".join(filter(None, (record.event_type, get_field("reason")))),
        "labels": _build_labels(record),
        "service.name": SERVICE_NAME,
        "service.version": __version__,
        "service.target.name": get_field("provider"),
        "organization.id": get_field("tenant"),
        "user.hash": number,
        "user.id": get_field("account"),
        "client.ip": address,
        "related.hash": [number] if number else None,
        "related.ip": [address] if address else None,
        "rule.name": get_field("limit"),
        "http.request.id": get_field("request"),
        "trace.id": get_field("trace"),
        "error.code": get_field("reason") if "error" in record.taxonomy.types else None,
        **_build_event_fields(record),
    }
    return _expand_dotted_names(fields)


def _build_event_fields(record: ExportRecord) -> dict[str, Any]:
    meaning, milliseconds = record.taxonomy, record.get_field("milliseconds")
    outcome = record.get_field("outcome") if meaning.is_certain else None
    return {
        "event.id": record.sequence_id.id,
        "event.kind": "alert" if meaning.title else "event",
        "event.category": [meaning.category],
        "event.type": list(meaning.types),
        "event.action": record.event_type,
        "event.outcome": outcome if outcome in ECS_OUTCOMES else "unknown",
        "event.reason": record.get_field("reason") or meaning.title or None,
        "event.severity": meaning.severity,
        "event.module": SERVICE_NAME,
        "event.dataset": f"{SERVICE_NAME}.audit",
        "event.sequence": record.sequence_id.sequence,
        "event.hash": record.leaf_hash,
        "event.start": _to_timestamp(record.get_field("first")),
        "event.end": _to_timestamp(record.get_field("last")),
        "event.duration": None if milliseconds is None else milliseconds * 1_000_000,
    }


def _build_labels(record: ExportRecord) -> dict[str, str]:
    names = sorted(LABEL_FIELDS & record.fields.keys())
    labels = {name: _to_label_text(record.fields[name]) for name in names}
    versions = record.get_field("versions") or {}
    labels |= {f"version_{name}": version for name, version in sorted(versions.items())}
    partition, epoch, _ = record.sequence_id
    labels |= {"partition": str(partition), "epoch": str(epoch)}
    return labels | ({"owasp": record.taxonomy.owasp} if record.taxonomy.owasp else {})


def _to_label_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _to_timestamp(at: int | None) -> str | None:
    return None if at is None else format_rfc3339(at)


def _expand_dotted_names(fields: dict[str, Any]) -> dict[str, Any]:
    """Return nested objects for the fields with dotted names; a missing value is omitted."""
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        *path, last = name.split(".")
        inner = nested
        for step in path:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return nested
