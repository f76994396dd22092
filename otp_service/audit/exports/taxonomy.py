"""The meaning of each event in OCSF 1.8.0, ECS 9.4.0 and OWASP's vocabulary.

The only table of it: the exports read it, and `EVENTS.md` shows it.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple


PREAUTH_ACTIVITY: Final = (3002, 6, "Preauth")
FACTOR_VERIFY_ACTIVITY: Final = (3002, 99, "Factor Verify")
"""Not a logon: the login service logs that, and a SIEM would count it twice."""
READ_ACTIVITY, DELETE_ACTIVITY = (6003, 2, "Read"), (6003, 4, "Delete")
START_ACTIVITY, STOP_ACTIVITY = (6003, 99, "Start"), (6003, 99, "Stop")
SEND_ACTIVITY: Final = (6003, 1, "Create")
UPDATE_ACTIVITY: Final = (6003, 3, "Update")
FINDING_ACTIVITY: Final = (2004, 1, "Create")

INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = 1, 2, 3, 4, 5
"""OCSF's severities."""


class TaxonomyEntry(NamedTuple):
    ocsf: tuple[int, int, str]
    """Class, activity, and the activity's name; the name is ours if the activity is 99 (Other)."""
    category: str
    """ECS's `event.category`; `types` is its `event.type`."""
    types: tuple[str, ...]
    owasp: str | None = None
    severity: int = INFORMATIONAL
    is_refusal: bool = False
    """Whether a rule of ours refused a request."""
    is_certain: bool = True
    """Whether tools may count the event's outcome."""
    title: str = ""
    """The title of a finding; empty for other events."""


def _build_preauth(owasp: str, ecs_type: str) -> TaxonomyEntry:
    return TaxonomyEntry(PREAUTH_ACTIVITY, "authentication", (ecs_type,), owasp)


def _deny_issue(owasp: str | None, severity: int) -> TaxonomyEntry:
    kind = ("authentication", ("info",))
    return TaxonomyEntry(PREAUTH_ACTIVITY, *kind, owasp, severity, is_refusal=True)


def _deny_verify(owasp: str, severity: int) -> TaxonomyEntry:
    return _build_verify(owasp, severity)._replace(is_refusal=True)


def _deny_call(activity: tuple[int, int, str], owasp: str | None, severity: int) -> TaxonomyEntry:
    return TaxonomyEntry(activity, "api", ("denied",), owasp, severity, is_refusal=True)


def _build_verify(owasp: str, severity: int = INFORMATIONAL) -> TaxonomyEntry:
    return TaxonomyEntry(FACTOR_VERIFY_ACTIVITY, "authentication", ("end",), owasp, severity)


def _build_process(
    activity: tuple[int, int, str], ecs_type: str, owasp: str, severity: int = INFORMATIONAL
) -> TaxonomyEntry:
    return TaxonomyEntry(activity, "process", (ecs_type,), owasp, severity)


def _build_account_change(
    activity: int, name: str, change: str, owasp: str | None, severity: int
) -> TaxonomyEntry:
    return TaxonomyEntry((3001, activity, name), "iam", (change,), owasp, severity)


def _build_finding(title: str) -> TaxonomyEntry:
    kind = ("intrusion_detection", ("info",))
    return TaxonomyEntry(FINDING_ACTIVITY, *kind, severity=CRITICAL, title=title)


_OWASP_RATE_LIMIT: Final = "excess_rate_limit_exceeded"


def _iterate_factor_entries(factor: str) -> Iterator[tuple[tuple[str, str], TaxonomyEntry]]:
    """Yield the entries that authenticators and recovery codes share."""
    yield (
        (f"{factor}.attempted", ""),
        TaxonomyEntry(FACTOR_VERIFY_ACTIVITY, "authentication", ("info",), is_certain=False),
    )
    yield (f"{factor}.rejected", ""), _build_verify("authn_login_fail", MEDIUM)
    for reason, owasp, severity in (
        ("", "authn_login_fail", LOW),
        ("malformed", "input_validation_fail", LOW),
        ("account_locked", "authn_login_lock", MEDIUM),
        ("rate_limited", _OWASP_RATE_LIMIT, MEDIUM),
    ):
        yield (f"{factor}.denied", reason), _deny_verify(owasp, severity)
    yield (
        (f"{factor}.locked", ""),
        _build_account_change(11, "MFA Factor Disable", "change", "authn_login_lock", HIGH),
    )


TAXONOMY_ENTRIES: Final[dict[tuple[str, str], TaxonomyEntry]] = {
    ("otp.issued", ""): _build_preauth("authn_token_created", "start"),
    ("otp.issue_denied", ""): _deny_issue(None, LOW),
    ("otp.issue_denied", "rate_limited"): _deny_issue(_OWASP_RATE_LIMIT, MEDIUM),
    ("otp.issue_denied", "number_locked"): _deny_issue("authn_login_lock", MEDIUM),
    ("otp.issue_denied", "account_locked"): _deny_issue("authn_login_lock", MEDIUM),
    ("otp.resent", ""): _build_preauth("authn_token_created", "start"),
    ("otp.sent", ""): TaxonomyEntry(SEND_ACTIVITY, "api", ("info",)),
    ("otp.provider_failed", ""): TaxonomyEntry(SEND_ACTIVITY, "api", ("info", "error"), None, LOW),
    ("otp.delivery", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("info",)),
    ("delivery.created", ""): TaxonomyEntry(SEND_ACTIVITY, "api", ("creation",)),
    ("delivery.denied", ""): _deny_call(SEND_ACTIVITY, None, LOW),
    ("delivery.denied", "rate_limited"): _deny_call(SEND_ACTIVITY, _OWASP_RATE_LIMIT, MEDIUM),
    ("delivery.denied", "number_locked"): _deny_call(SEND_ACTIVITY, "authn_login_lock", MEDIUM),
    ("delivery.denied", "account_locked"): _deny_call(SEND_ACTIVITY, "authn_login_lock", MEDIUM),
    ("delivery.sent", ""): TaxonomyEntry(SEND_ACTIVITY, "api", ("info",)),
    ("delivery.provider_failed", ""): TaxonomyEntry(
        SEND_ACTIVITY, "api", ("info", "error"), None, LOW
    ),
    ("delivery.reported", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("info",)),
    ("otp.superseded", ""): _build_preauth("authn_token_revoked", "info"),
    ("otp.attempted", ""): TaxonomyEntry(
        FACTOR_VERIFY_ACTIVITY, "authentication", ("info",), is_certain=False
    ),
    ("otp.verified", ""): _build_verify("authn_login_success"),
    ("otp.rejected", ""): _build_verify("authn_login_fail", MEDIUM),
    ("otp.verify_denied", ""): _deny_verify("authn_login_fail", LOW),
    ("otp.verify_denied", "malformed"): _deny_verify("input_validation_fail", LOW),
    ("otp.verify_denied", "replay"): _deny_verify("authn_token_reuse", CRITICAL),
    ("otp.verify_denied", "attempts_exhausted"): _deny_verify("authn_login_fail_max", MEDIUM),
    ("otp.verify_denied", "number_locked"): _deny_verify("authn_login_lock", MEDIUM),
    ("otp.verify_denied", "account_locked"): _deny_verify("authn_login_lock", MEDIUM),
    ("otp.verify_denied", "rate_limited"): _deny_verify(_OWASP_RATE_LIMIT, MEDIUM),
    ("otp.locked", "attempts_exhausted"): _build_verify("authn_login_fail_max", MEDIUM),
    ("otp.locked", "number_locked"): _build_account_change(
        11, "MFA Factor Disable", "change", "authn_login_lock", HIGH
    ),
    ("otp.locked", "account_locked"): _build_account_change(
        11, "MFA Factor Disable", "change", "authn_login_lock", HIGH
    ),
    ("otp.unlocked", ""): TaxonomyEntry(
        (3001, 12, "Unlock"), "authentication", ("info",), severity=LOW
    ),
    **dict(_iterate_factor_entries("authenticator")),
    ("authenticator.enrolled", ""): _build_account_change(
        99, "MFA Factor Enroll", "creation", "authn_token_created", INFORMATIONAL
    ),
    ("authenticator.confirmed", ""): _build_account_change(
        10, "MFA Factor Enable", "change", None, LOW
    ),
    ("authenticator.verified", ""): _build_verify("authn_login_success"),
    ("authenticator.replayed", ""): _build_verify("authn_token_reuse", HIGH),
    ("authenticator.imported", ""): TaxonomyEntry(
        SEND_ACTIVITY, "iam", ("creation",), severity=MEDIUM
    ),
    ("authenticator.exported", ""): TaxonomyEntry(
        READ_ACTIVITY, "iam", ("info",), "sensitive_read", HIGH
    ),
    **dict(_iterate_factor_entries("recovery")),
    ("recovery.created", ""): _build_account_change(
        10, "MFA Factor Enable", "creation", "authn_token_created", LOW
    ),
    ("recovery.used", ""): _build_verify("authn_login_success", LOW),
    ("recovery.rejected", "used"): _build_verify("authn_token_reuse", HIGH),
    ("recovery.low", ""): _build_account_change(99, "Recovery Codes Low", "info", None, LOW),
    ("number.opted_out", ""): _build_account_change(5, "Disable", "change", None, LOW),
    ("number.opted_in", ""): _build_account_change(2, "Enable", "change", None, LOW),
    ("number.exported", ""): TaxonomyEntry(READ_ACTIVITY, "iam", ("info",), "sensitive_read", HIGH),
    ("number.help_requested", ""): TaxonomyEntry((6003, 99, "Help"), "api", ("info",)),
    ("otp.limit_reset", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("change",), severity=LOW),
    ("brake.opened", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("change",), severity=MEDIUM),
    ("brake.closed", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("change",), severity=MEDIUM),
    ("brake.lifted", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("change",), severity=LOW),
    ("limit_key.moved", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("change",), severity=MEDIUM),
    ("otp.canceled", ""): _build_preauth("authn_token_revoked", "info"),
    ("otp.blocklist", "blocked"): _build_account_change(5, "Disable", "change", None, LOW),
    ("otp.blocklist", "unblocked"): _build_account_change(2, "Enable", "change", None, LOW),
    ("otp.forgotten", ""): _build_account_change(6, "Delete", "deletion", "sensitive_delete", LOW),
    ("access.denied", ""): _deny_call((6003, 99, "Call"), "authn_login_fail", MEDIUM),
    ("access.denied", "scope"): _deny_call((6003, 99, "Call"), "authz_fail", MEDIUM),
    ("callback.rejected", ""): _deny_call(UPDATE_ACTIVITY, "malicious_extraneous", MEDIUM),
    ("callback.rejected", "signature"): _deny_call(
        UPDATE_ACTIVITY, "malicious_direct_reference", HIGH
    ),
    ("provider.moved", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("change",), severity=LOW),
    ("brake.moved", ""): TaxonomyEntry(UPDATE_ACTIVITY, "api", ("change",), severity=MEDIUM),
    ("store.tampered", ""): _build_finding("A record in Redis was not written by this service"),
    ("log.epoch", ""): TaxonomyEntry((6003, 99, "Epoch"), "database", ("info",), severity=MEDIUM),
    ("log.gap", ""): _build_finding("Entries of the audit log are missing"),
    ("log.unreadable", ""): _build_finding("An entry of the audit log is not one of ours"),
    ("log.archive", "started"): _build_process(START_ACTIVITY, "start", "sys_monitor_enabled"),
    ("log.archive", "stopped"): _build_process(STOP_ACTIVITY, "end", "sys_monitor_disabled", LOW),
    ("log.archive", "dropped"): _build_process(DELETE_ACTIVITY, "info", "sensitive_delete", LOW),
    ("log.archive", "gap"): _build_finding("Entries of the audit log are missing"),
    ("log.archive", "overflow"): _build_finding("The audit log is full: nothing is granted"),
    ("log.archive", "recovered"): TaxonomyEntry((6003, 99, "Recovery"), "database", ("info",)),
    ("audit.lookup", ""): TaxonomyEntry(READ_ACTIVITY, "api", ("access",), "sensitive_read", LOW),
    ("service.changed", "started"): _build_process(START_ACTIVITY, "start", "sys_startup"),
    ("service.changed", "stopped"): _build_process(STOP_ACTIVITY, "end", "sys_shutdown"),
    ("service.changed", "reload_refused"): TaxonomyEntry(
        (6003, 99, "Reload"), "configuration", ("info",), severity=HIGH
    ),
}
"""By type and reason; the empty reason applies to every other one."""

_UNKNOWN_TYPE_ENTRY: Final = TaxonomyEntry((6003, 99, "Other"), "api", ("info",), severity=LOW)
"""For an event type that this version does not know: a newer one wrote the archive."""


def get_taxonomy_entry(event_type: str, reason: str | None) -> TaxonomyEntry:
    """Return the entry of this type and reason, or that of the type alone."""
    return TAXONOMY_ENTRIES.get((event_type, reason or "")) or TAXONOMY_ENTRIES.get(
        (event_type, ""), _UNKNOWN_TYPE_ENTRY
    )
