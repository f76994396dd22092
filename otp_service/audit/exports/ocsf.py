"""OCSF 1.8.0: Authentication, Account Change, API Activity and Detection Finding.

The number is the user: its pseudonym is `user.uid`, and the account's is `user.uid_alt`. There is
no class for SMS, so messages and receipts are API Activity between us and the provider, about a
resource that is the number. Whatever OCSF has no place for in some class stands in `unmapped`, the
fields of the chain among it.
"""

from typing import Any, Final

from otp_service import __version__
from otp_service.audit.exports.export_record import Told


VERSION: Final = "1.8.0"
SERVICE: Final = "otp-service"

OTHER: Final = 99
AUTHENTICATION, ACCOUNT_CHANGE, API_ACTIVITY, FINDING = 3002, 3001, 6003, 2004

CLASSES: Final = {
    AUTHENTICATION: "Authentication",
    ACCOUNT_CHANGE: "Account Change",
    API_ACTIVITY: "API Activity",
    FINDING: "Detection Finding",
}
CATEGORIES: Final = {3: "Identity & Access Management", 6: "Application Activity", 2: "Findings"}
SEVERITIES: Final = ("Unknown", "Informational", "Low", "Medium", "High", "Critical")
STATUSES: Final = {"success": (1, "Success"), "failure": (2, "Failure")}
DETAILS: Final = {
    "mismatch": "INVALID_CREDENTIALS",
    "number_locked": "ACCOUNT_LOCKED_OUT",
    "attempts_exhausted": "ACCOUNT_LOCKED_OUT",
}
"""Reasons for which OCSF has a word; the others are told in ours."""

SMS: Final = [{"factor_type_id": 1, "factor_type": "SMS"}]
US: Final = {"name": SERVICE, "version": __version__}

UNMAPPED: Final = frozenset(
    {
        *("id", "versions", "country", "tail", "key_id", "request", "phone_metadata", "trace"),
        *("number", "account", "client_address", "challenge", "purpose", "reason", "mac"),
        *("limit", "quota", "period", "wait", "folded", "addresses", "unrecorded"),
        *("send", "fault", "about", "state", "status", "trusted", "attempts_left"),
        *("repeated", "record", "missing", "seal", "claimed", "length", "by", "found"),
    }
)
"""What is told in our words, whether or not OCSF has a place for it too."""


def ocsf(told: Told) -> dict[str, Any]:
    """Return the event as OCSF has it."""
    meaning = told.meaning
    kind, activity, name = meaning.ocsf
    event = {
        "class_uid": kind,
        "class_name": CLASSES[kind],
        "category_uid": kind // 1000,
        "category_name": CATEGORIES[kind // 1000],
        "activity_id": activity,
        "activity_name": name,
        "type_uid": kind * 100 + activity,
        "type_name": f"{CLASSES[kind]}: {'Other' if activity == OTHER else name}",
        "time": told.at,
        "severity_id": meaning.severity,
        "severity": SEVERITIES[meaning.severity],
        "message": " ".join(filter(None, (told.kind, told.get("reason")))),
        "unmapped": _unmapped(told),
        **_status(told),
        **_counted(told),
        **_of_class(told),
        **_control(told),
    }
    event["metadata"] = _metadata(told, event)
    return event


def _metadata(told: Told, event: dict[str, Any]) -> dict[str, Any]:
    used = {"security_control": "action_id", "host": "actor", "trace": "trace"}
    return _said(
        version=VERSION,
        product={"name": SERVICE, "vendor_name": SERVICE, "version": __version__},
        profiles=[name for name, field in used.items() if field in event],
        uid=told.id,
        event_code=told.kind,
        log_name="audit",
        sequence=told.place.sequence,
        tenant_uid=told.get("tenant"),
        correlation_uid=told.get("challenge"),
    )


def _status(told: Told) -> dict[str, Any]:
    if told.meaning.ocsf[0] == FINDING:
        return {"status_id": 1, "status": "New"}
    outcome = told.get("outcome") if told.meaning.is_certain else None
    number, name = STATUSES.get(outcome or "", (0, "Unknown"))
    reason = told.get("reason")
    is_code = told.kind == "otp.provider_failed"
    return _said(
        status_id=number,
        status=name,
        status_detail=DETAILS.get(reason or "", reason),
        status_code=reason if is_code else None,
    )


def _counted(told: Told) -> dict[str, Any]:
    return _said(
        count=told.get("count") or told.get("folded"),
        start_time=told.get("first"),
        end_time=told.get("last"),
        duration=told.get("milliseconds"),
    )


def _of_class(told: Told) -> dict[str, Any]:
    match told.meaning.ocsf[0]:
        case 3002:
            verified = {"is_mfa": True} if told.kind == "otp.verified" else {}
            return {"service": US, "auth_factors": SMS, **_user(told), **verified}
        case 3001:
            return {**_user(told), "actor": _actor(told)}
        case 6003:
            return _api(told)
        case _:
            return {"finding_info": {"uid": told.id, "title": told.meaning.title}}


def _user(told: Told) -> dict[str, Any]:
    tenant, address = told.get("tenant"), told.get("client_address")
    user = _said(
        type_id=1,
        uid=told.get("number") or "unknown",
        uid_alt=told.get("account"),
        org={"uid": tenant} if tenant else None,
    )
    return _said(user=user, src_endpoint={"ip": address, "uid": address} if address else None)


def _actor(told: Told) -> dict[str, Any]:
    """Return who has acted: whoever holds an API key, the command line, or the service itself."""
    key = told.get("key_id")
    user = {"uid": key, "type_id": 4} if key else None
    return _said(app_name=SERVICE, app_uid=told.get("tenant"), user=user)


def _api(told: Told) -> dict[str, Any]:
    """Return what API Activity wants: from us to the provider, or from strangers to us."""
    provider, request, trace = told.get("provider"), told.get("request"), told.get("trace")
    them = {"name": provider, "svc_name": provider} if provider else None
    is_incoming = told.meaning.is_refusal or told.kind == "otp.delivery"
    ours = {"name": SERVICE, "svc_name": SERVICE}
    return _said(
        actor=_actor(told),
        api=_said(operation=told.kind, service=US, request={"uid": request} if request else None),
        src_endpoint=(them or {"name": "unknown"}) if is_incoming else ours,
        dst_endpoint=ours if is_incoming else them,
        trace={"uid": trace} if trace else None,
        resources=[_about(told)] if told.get("number") else None,
    )


def _about(told: Told) -> dict[str, Any]:
    """Return the number, where it is what the call is about and not who has called."""
    who = {"uid": told.get("number"), "uid_alt": told.get("account"), "type": "phone number"}
    return _said(**who, role_id=3, role="Affected")


def _control(told: Told) -> dict[str, Any]:
    """Return what was done about it, where a rule of ours has refused."""
    if not told.meaning.is_refusal:
        return {}
    limit = told.get("limit")
    return _said(
        action_id=2,
        action="Denied",
        disposition_id=2,
        disposition="Blocked",
        policy=_policy(told, limit) if limit else None,
    )


def _policy(told: Told, limit: str) -> dict[str, Any]:
    quota, period = told.get("quota"), told.get("period")
    return {"name": limit, "uid": limit, "is_applied": True, "desc": f"{quota} in {period} s"}


def _unmapped(told: Told) -> dict[str, Any]:
    ours = {name: value for name, value in told.facts.items() if name in UNMAPPED}
    owasp = {"owasp": told.meaning.owasp} if told.meaning.owasp else {}
    partition, epoch, sequence = told.place
    chain = {"partition": partition, "epoch": epoch, "sequence": sequence, "hash": told.hash}
    return ours | owasp | chain


def _said(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
