"""OCSF 1.8.0: Authentication, Account Change, API Activity and Detection Finding.

The number is the user: its pseudonym is `user.uid`, and the account's is `user.uid_alt`. In events
without a number, such as those of authenticators, `user.uid` is the account's pseudonym. OCSF has
no class for SMS, so messages and receipts are API Activity between this service and the provider,
with the number as the resource. Members without an OCSF field are in `unmapped`, and so is the
entry's position in the log.
"""

from typing import Any, Final

from otp_service import __version__
from otp_service.audit.exports.export_record import UNMAPPED_FIELDS, ExportRecord


OCSF_VERSION: Final = "1.8.0"
SERVICE_NAME: Final = "otp-service"

OTHER_ACTIVITY: Final = 99
ACCOUNT_CHANGE_CLASS, AUTHENTICATION_CLASS = 3001, 3002
API_ACTIVITY_CLASS, DETECTION_FINDING_CLASS = 6003, 2004

CLASS_NAMES: Final = {
    AUTHENTICATION_CLASS: "Authentication",
    ACCOUNT_CHANGE_CLASS: "Account Change",
    API_ACTIVITY_CLASS: "API Activity",
    DETECTION_FINDING_CLASS: "Detection Finding",
}
CATEGORY_NAMES: Final = {
    2: "Findings",
    3: "Identity & Access Management",
    6: "Application Activity",
}
SEVERITY_NAMES: Final = ("Unknown", "Informational", "Low", "Medium", "High", "Critical")
STATUS_BY_OUTCOME: Final = {"success": (1, "Success"), "failure": (2, "Failure")}
STATUS_DETAIL_BY_REASON: Final = {
    "mismatch": "INVALID_CREDENTIALS",
    "number_locked": "ACCOUNT_LOCKED_OUT",
    "account_locked": "ACCOUNT_LOCKED_OUT",
    "attempts_exhausted": "ACCOUNT_LOCKED_OUT",
}
"""Reasons with a value of OCSF; the others are exported as they are."""

AUTH_FACTORS: Final = {
    "otp": {"factor_type_id": 1, "factor_type": "SMS"},
    "authenticator": {"factor_type_id": 7, "factor_type": "OTP"},
    "recovery": {"factor_type_id": 99, "factor_type": "Recovery Code"},
}
"""The factor of each group of event types, as OCSF names it."""

INCOMING_EVENTS: Final = frozenset({"otp.delivery", "delivery.reported", "number.help_requested"})
"""API Activity that a provider begins, apart from the calls that are refused."""

SUCCESS_EVENTS: Final = frozenset({"otp.verified", "authenticator.verified", "recovery.used"})
PRODUCT_INFO: Final = {"name": SERVICE_NAME, "version": __version__}

OCSF_UNMAPPED_FIELDS: Final = UNMAPPED_FIELDS.union(
    ("versions", "request", "trace", "number", "account", "client_ip", "reason", "limit")
)
"""Members that are in `unmapped`, whether or not OCSF has a field for them too."""


def to_ocsf(record: ExportRecord) -> dict[str, Any]:
    severity, (class_uid, activity, name) = record.taxonomy.severity, record.taxonomy.ocsf
    event = {
        "class_uid": class_uid,
        "class_name": CLASS_NAMES[class_uid],
        "category_uid": class_uid // 1000,
        "category_name": CATEGORY_NAMES[class_uid // 1000],
        "activity_id": activity,
        "activity_name": name,
        "type_uid": class_uid * 100 + activity,
        "type_name": f"{CLASS_NAMES[class_uid]}: {'Other' if activity == OTHER_ACTIVITY else name}",
        "time": record.at,
        "severity_id": severity,
        "severity": SEVERITY_NAMES[severity],
        "message": " ".join(filter(None, (record.event_type, record.get_field("reason")))),
        "unmapped": _build_unmapped(record),
        **_build_status(record),
        **_build_counts(record),
        **_build_class_fields(record),
        **_build_disposition(record),
    }
    event["metadata"] = _build_metadata(record, event)
    return event


def _build_metadata(record: ExportRecord, event: dict[str, Any]) -> dict[str, Any]:
    used = {"security_control": "action_id", "host": "actor", "trace": "trace"}
    return _drop_none(
        version=OCSF_VERSION,
        product={"name": SERVICE_NAME, "vendor_name": SERVICE_NAME, "version": __version__},
        profiles=[name for name, field in used.items() if field in event],
        uid=record.sequence_id.id,
        event_code=record.event_type,
        log_name="audit",
        sequence=record.sequence_id.sequence,
        tenant_uid=record.get_field("tenant"),
        correlation_uid=record.get_field("challenge"),
    )


def _build_status(record: ExportRecord) -> dict[str, Any]:
    if record.taxonomy.ocsf[0] == DETECTION_FINDING_CLASS:
        return {"status_id": 1, "status": "New"}
    outcome = record.get_field("outcome") if record.taxonomy.is_certain else None
    number, name = STATUS_BY_OUTCOME.get(outcome or "", (0, "Unknown"))
    reason = record.get_field("reason")
    is_code = record.event_type == "otp.provider_failed"
    return _drop_none(
        status_id=number,
        status=name,
        status_detail=STATUS_DETAIL_BY_REASON.get(reason or "", reason),
        status_code=reason if is_code else None,
    )


def _build_counts(record: ExportRecord) -> dict[str, Any]:
    return _drop_none(
        count=record.get_field("count") or record.get_field("folded"),
        start_time=record.get_field("first"),
        end_time=record.get_field("last"),
        duration=record.get_field("milliseconds"),
    )


def _build_class_fields(record: ExportRecord) -> dict[str, Any]:
    match record.taxonomy.ocsf[0]:
        case 3002:
            verified = {"is_mfa": True} if record.event_type in SUCCESS_EVENTS else {}
            factor = AUTH_FACTORS[record.event_type.partition(".")[0]]
            service = {"service": PRODUCT_INFO, "auth_factors": [factor]}
            return service | _build_user(record) | verified
        case 3001:
            return {**_build_account(record), "actor": _build_actor(record)}
        case 6003:
            return _build_api_activity(record)
        case _:
            return {"finding_info": {"uid": record.sequence_id.id, "title": record.taxonomy.title}}


def _build_user(record: ExportRecord) -> dict[str, Any]:
    tenant, address = record.get_field("tenant"), record.get_field("client_ip")
    user = _drop_none(
        type_id=1,
        uid=record.get_field("number") or record.get_field("account") or "unknown",
        uid_alt=record.get_field("account"),
        org={"uid": tenant} if tenant else None,
    )
    return _drop_none(user=user, src_endpoint={"ip": address, "uid": address} if address else None)


def _build_account(record: ExportRecord) -> dict[str, Any]:
    """Return the changed user, and the provider that passed the message of the person on."""
    user, provider = _build_user(record), record.get_field("provider")
    if provider is None:
        return user
    endpoint = {"name": provider, "svc_name": provider}
    return {**user, "src_endpoint": user.get("src_endpoint", {}) | endpoint}


def _build_actor(record: ExportRecord) -> dict[str, Any]:
    """Return the actor: the holder of an API key, the command line, or the service itself."""
    key = record.get_field("key_id")
    user = {"uid": key, "type_id": 4} if key else None
    return _drop_none(app_name=SERVICE_NAME, app_uid=record.get_field("tenant"), user=user)


def _build_api_activity(record: ExportRecord) -> dict[str, Any]:
    """Return the fields of API Activity: a call to the provider, or one from outside to us."""
    provider, request, trace = map(record.get_field, ("provider", "request", "trace"))
    call = {"request": {"uid": request}} if request else {}
    theirs = {"name": provider, "svc_name": provider} if provider else None
    is_incoming = record.taxonomy.is_refusal or record.event_type in INCOMING_EVENTS
    ours = {"name": SERVICE_NAME, "svc_name": SERVICE_NAME}
    return _drop_none(
        actor=_build_actor(record),
        api={"operation": record.event_type, "service": PRODUCT_INFO, **call},
        src_endpoint=(theirs or {"name": "unknown"}) if is_incoming else ours,
        dst_endpoint=ours if is_incoming else theirs,
        trace={"uid": trace} if trace else None,
        resources=[_build_affected_number(record)] if record.get_field("number") else None,
    )


def _build_affected_number(record: ExportRecord) -> dict[str, Any]:
    """Return the number as the resource that the call is about."""
    number, account = record.get_field("number"), record.get_field("account")
    return _drop_none(uid=number, uid_alt=account, type="phone number", role_id=3, role="Affected")


def _build_disposition(record: ExportRecord) -> dict[str, Any]:
    if not record.taxonomy.is_refusal:
        return {}
    blocked = {"action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked"}
    limit, quota, period = map(record.get_field, ("limit", "quota", "period"))
    policy = {"name": limit, "uid": limit, "is_applied": True, "desc": f"{quota} in {period} s"}
    return blocked | ({"policy": policy} if limit else {})


def _build_unmapped(record: ExportRecord) -> dict[str, Any]:
    ours = {name: value for name, value in record.fields.items() if name in OCSF_UNMAPPED_FIELDS}
    owasp = {"owasp": record.taxonomy.owasp} if record.taxonomy.owasp else {}
    partition, epoch, sequence = record.sequence_id
    chain = {"partition": partition, "epoch": epoch, "sequence": sequence, "hash": record.leaf_hash}
    return ours | owasp | chain


def _drop_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
