"""What each event means in the words of others: OCSF 1.8.0, ECS 9.4.0 and OWASP's vocabulary.

The only table of it: the exports read it, and `EVENTS.md`, the inventory, shows it.
"""

from typing import Final, NamedTuple


PREAUTH: Final = (3002, 6, "Preauth")
FACTOR_VERIFY: Final = (3002, 99, "Factor Verify")
"""No logon: the login service logs that, and a SIEM would count it twice."""
SEND: Final = (6003, 1, "Create")
UPDATE: Final = (6003, 3, "Update")
FOUND: Final = (2004, 1, "Create")

INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = 1, 2, 3, 4, 5
"""OCSF's severities."""


class Meaning(NamedTuple):
    """What one event means."""

    ocsf: tuple[int, int, str]
    """Class, activity and its name, which is ours where the activity is 99."""
    category: str
    """ECS's `event.category`, and with it `event.type`."""
    types: tuple[str, ...]
    owasp: str | None = None
    severity: int = INFORMATIONAL
    is_refusal: bool = False
    """Whether something that was asked for was refused by a rule of ours."""
    is_certain: bool = True
    """Whether the event's outcome is one that tools may count."""
    title: str = ""
    """Of a finding."""


def _preauth(owasp: str | None, severity: int = INFORMATIONAL, *, starts: bool) -> Meaning:
    return Meaning(PREAUTH, "authentication", ("start" if starts else "info",), owasp, severity)


def _denied(ocsf: tuple[int, int, str], kind: str, owasp: str | None, severity: int) -> Meaning:
    category = "api" if ocsf[0] == UPDATE[0] else "authentication"
    return Meaning(ocsf, category, (kind,), owasp, severity, is_refusal=True)


def _verify(owasp: str, severity: int = INFORMATIONAL) -> Meaning:
    return Meaning(FACTOR_VERIFY, "authentication", ("end",), owasp, severity)


def _account(activity: int, name: str, change: str, owasp: str | None, severity: int) -> Meaning:
    return Meaning((3001, activity, name), "iam", (change,), owasp, severity)


def _found(title: str) -> Meaning:
    kind = ("intrusion_detection", ("info",))
    return Meaning(FOUND, *kind, severity=CRITICAL, title=title)


_LIMIT: Final = "excess_rate_limit_exceeded"

MEANINGS: Final[dict[tuple[str, str], Meaning]] = {
    ("otp.issued", ""): _preauth("authn_token_created", starts=True),
    ("otp.issue_denied", ""): _denied(PREAUTH, "info", None, LOW),
    ("otp.issue_denied", "rate_limited"): _denied(PREAUTH, "info", _LIMIT, MEDIUM),
    ("otp.issue_denied", "number_locked"): _denied(PREAUTH, "info", "authn_login_lock", MEDIUM),
    ("otp.resent", ""): _preauth("authn_token_created", starts=True),
    ("otp.sent", ""): Meaning(SEND, "api", ("info",)),
    ("otp.provider_failed", ""): Meaning(SEND, "api", ("info", "error"), severity=LOW),
    ("otp.delivery", ""): Meaning(UPDATE, "api", ("info",)),
    ("otp.superseded", ""): _preauth("authn_token_revoked", starts=False),
    ("otp.attempted", ""): Meaning(FACTOR_VERIFY, "authentication", ("info",), is_certain=False),
    ("otp.verified", ""): _verify("authn_login_success"),
    ("otp.rejected", ""): _verify("authn_login_fail", MEDIUM),
    ("otp.verify_denied", ""): _denied(FACTOR_VERIFY, "end", "authn_login_fail", LOW),
    ("otp.verify_denied", "malformed"): _denied(FACTOR_VERIFY, "end", "input_validation_fail", LOW),
    ("otp.verify_denied", "replay"): _denied(FACTOR_VERIFY, "end", "authn_token_reuse", CRITICAL),
    ("otp.verify_denied", "attempts_exhausted"): _denied(
        FACTOR_VERIFY, "end", "authn_login_fail_max", MEDIUM
    ),
    ("otp.verify_denied", "number_locked"): _denied(
        FACTOR_VERIFY, "end", "authn_login_lock", MEDIUM
    ),
    ("otp.verify_denied", "rate_limited"): _denied(FACTOR_VERIFY, "end", _LIMIT, MEDIUM),
    ("otp.locked", "attempts_exhausted"): _verify("authn_login_fail_max", MEDIUM),
    ("otp.locked", "number_locked"): _account(
        11, "MFA Factor Disable", "change", "authn_login_lock", HIGH
    ),
    ("otp.unlocked", ""): Meaning((3001, 12, "Unlock"), "authentication", ("info",), severity=LOW),
    ("otp.canceled", ""): _preauth("authn_token_revoked", starts=False),
    ("otp.blocklist", "blocked"): _account(5, "Disable", "change", None, LOW),
    ("otp.blocklist", "unblocked"): _account(2, "Enable", "change", None, LOW),
    ("otp.forgotten", ""): _account(6, "Delete", "deletion", "sensitive_delete", LOW),
    ("access.denied", ""): _denied((6003, 99, "Call"), "denied", "authn_login_fail", MEDIUM),
    ("access.denied", "scope"): _denied((6003, 99, "Call"), "denied", "authz_fail", MEDIUM),
    ("callback.rejected", ""): _denied(UPDATE, "denied", "malicious_extraneous", MEDIUM),
    ("callback.rejected", "signature"): _denied(
        UPDATE, "denied", "malicious_direct_reference", HIGH
    ),
    ("provider.moved", ""): Meaning(UPDATE, "api", ("change",), severity=LOW),
    ("store.tampered", ""): _found("A record in Redis was written by somebody else"),
    ("log.epoch", ""): Meaning((6003, 99, "Epoch"), "database", ("info",), severity=MEDIUM),
    ("log.gap", ""): _found("Entries of the audit log are missing"),
    ("log.unreadable", ""): _found("An entry of the audit log is not one of ours"),
    ("log.archive", "started"): Meaning(
        (6003, 99, "Start"), "process", ("start",), "sys_monitor_enabled"
    ),
    ("log.archive", "stopped"): Meaning(
        (6003, 99, "Stop"), "process", ("end",), "sys_monitor_disabled", LOW
    ),
    ("log.archive", "dropped"): Meaning(
        (6003, 4, "Delete"), "process", ("info",), "sensitive_delete", LOW
    ),
    ("log.archive", "gap"): _found("Entries of the audit log are missing"),
    ("log.archive", "overflow"): _found("The audit log is full: nothing is granted"),
    ("log.archive", "recovered"): Meaning((6003, 99, "Recovery"), "database", ("info",)),
    ("audit.lookup", ""): Meaning((6003, 2, "Read"), "api", ("access",), "sensitive_read", LOW),
    ("service.changed", "started"): Meaning(
        (6003, 99, "Start"), "process", ("start",), "sys_startup"
    ),
    ("service.changed", "stopped"): Meaning(
        (6003, 99, "Stop"), "process", ("end",), "sys_shutdown"
    ),
}
"""By type and reason; an empty reason stands for every other one."""

_NEW: Final = Meaning((6003, 99, "Other"), "api", ("info",), severity=LOW)
"""Of a type that this version does not know: a newer one has written the archive."""


def meaning_of(kind: str, reason: str | None) -> Meaning:
    """Return what an event of this type with this reason means."""
    return MEANINGS.get((kind, reason or "")) or MEANINGS.get((kind, ""), _NEW)
