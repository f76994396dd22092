"""ECS 9.4.0, the Elastic Common Schema.

The number's pseudonym is `user.hash`, and the account's `user.id`; the provider is the service that
ours speaks to. What ECS has no field for is a label, and labels are text.
"""

from typing import Any, Final

from otp_service import __version__
from otp_service.audit.exports.export_record import Told
from otp_service.core.log_entry import rfc3339


VERSION: Final = "9.4.0"
SERVICE: Final = "otp-service"

OUTCOMES: Final = frozenset({"success", "failure"})

LABELS: Final = frozenset(
    {
        *("challenge", "purpose", "country", "tail", "key_id", "phone_metadata"),
        *("quota", "period", "wait", "folded", "count", "addresses", "unrecorded"),
        *("send", "fault", "about", "state", "status", "trusted", "attempts_left", "repeated"),
        *("id", "record", "missing", "seal", "claimed", "length", "by", "found", "mac"),
    }
)


def ecs(told: Told) -> dict[str, Any]:
    """Return the event as ECS has it, its fields nested."""
    fields = {
        "@timestamp": rfc3339(told.at),
        "ecs.version": VERSION,
        "message": " ".join(filter(None, (told.kind, told.get("reason")))),
        "labels": _labels(told),
        "service.name": SERVICE,
        "service.version": __version__,
        "service.target.name": told.get("provider"),
        "organization.id": told.get("tenant"),
        "user.hash": told.get("number"),
        "user.id": told.get("account"),
        "client.ip": told.get("client_address"),
        "related.hash": [told.get("number")] if told.get("number") else None,
        "related.ip": [told.get("client_address")] if told.get("client_address") else None,
        "rule.name": told.get("limit"),
        "http.request.id": told.get("request"),
        "trace.id": told.get("trace"),
        "error.code": told.get("reason") if "error" in told.meaning.types else None,
        **_event(told),
    }
    return _nested(fields)


def _event(told: Told) -> dict[str, Any]:
    meaning, milliseconds = told.meaning, told.get("milliseconds")
    outcome = told.get("outcome") if meaning.is_certain else None
    return {
        "event.id": told.id,
        "event.kind": "alert" if meaning.title else "event",
        "event.category": [meaning.category],
        "event.type": list(meaning.types),
        "event.action": told.kind,
        "event.outcome": outcome if outcome in OUTCOMES else "unknown",
        "event.reason": told.get("reason") or meaning.title or None,
        "event.severity": meaning.severity,
        "event.module": SERVICE,
        "event.dataset": f"{SERVICE}.audit",
        "event.sequence": told.place.sequence,
        "event.hash": told.hash,
        "event.start": _instant(told.get("first")),
        "event.end": _instant(told.get("last")),
        "event.duration": None if milliseconds is None else milliseconds * 1_000_000,
    }


def _labels(told: Told) -> dict[str, str]:
    labels = {name: _text(told.facts[name]) for name in sorted(LABELS & told.facts.keys())}
    versions = told.get("versions") or {}
    labels |= {f"version_{name}": version for name, version in sorted(versions.items())}
    labels |= {"partition": str(told.place.partition), "epoch": str(told.place.epoch)}
    return labels | ({"owasp": told.meaning.owasp} if told.meaning.owasp else {})


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _instant(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def _nested(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with a dotted name in objects of objects; those that say nothing are out."""
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        *path, last = name.split(".")
        place = nested
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    return nested
