"""Rules for settings that can be decoded: errors are unsafe, warnings deserve a second look.

`serve` and `check` refuse to run while `find_errors` returns anything. All rules are pure;
`store/health.py` checks what only a live Redis knows (eviction, AOF, version, replicas).
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec

from otp_service.core.ip_address import is_loopback
from otp_service.core.keywords import find_keyword_errors, find_keyword_warnings
from otp_service.core.messages import validate_messages
from otp_service.core.tenant import (
    MAX_DIGIT_CODE_CHARS,
    MAX_LETTER_CODE_CHARS,
    MAX_VALID_MINUTES,
)
from otp_service.settings import (
    audit_rules,
    fixed_code_rules,
    hook_rules,
    key_rules,
    limit_bounds,
    limit_rules,
    mode_rules,
    provider_rules,
    pumping_rules,
    twilio_rules,
)
from otp_service.settings.country_codes import describe_unknown_countries
from otp_service.settings.decode import ConfigIssue, build_issues
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import MessageSettings, ServiceSettings, TelemetrySettings
from otp_service.settings.tenant_tables import TenantSettings
from otp_service.sms.validation import find_header_errors


SENDER_PATTERN = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}|\+[1-9]\d{6,14}", re.ASCII)

BELOW_OWASP_REMEDY = (
    "is below OWASP's table for argon2id with these passes: use 7168 KiB and 5 passes or 19456 KiB "
    "and 2, or set hash.accept_below_owasp = true and read the time of an attack that 'check' shows"
)
EXPOSED_REMEDY = (
    "cross the network in plain text. Listen on 127.0.0.1 behind a proxy with TLS, or see that only "
    "that proxy reaches this address"
)
NO_DELIVERY_REMEDY = (
    "has no effect: no key of this tenant has the scope 'deliver', and no hook sends for it"
)
NO_RISK_REMEDY = "has no effect: there is no risk service. Set risk.url, or leave it out"
PLAIN_TEXT_REMEDY = (
    "must be true (or the url rediss://) off loopback: otherwise records cross the network in "
    "plain text. If that network is private, set redis.accept_plain_text = true"
)


def find_errors(settings: Settings) -> list[ConfigIssue]:
    """Return every error."""
    return [
        *build_issues("policy", settings.policy.find_errors()),
        *_check_hash(settings),
        *key_rules.find_errors(settings),
        *_check_redis(settings),
        *audit_rules.find_errors(settings),
        *_check_public_url(settings.service.public_url or "https://"),
        *_check_telemetry(settings.telemetry),
        *limit_rules.find_errors(settings),
        *build_issues("inbound.keywords", find_keyword_errors(settings.effective_keywords)),
        *_check_tenants(settings),
        *twilio_rules.find_errors(settings),
        *mode_rules.find_errors(settings),
        *fixed_code_rules.find_errors(settings),
        *hook_rules.find_errors(settings),
        *build_issues("risk", settings.risk.find_errors() if settings.risk else ()),
        *provider_rules.find_errors(settings),
        *pumping_rules.find_errors(settings),
    ]


def find_tolerated_errors(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Yield the errors that `check` refuses and the service runs with, and logs.

    They concern one tenant, or became errors with a new version: a restart must not fail for them.
    """
    yield from limit_bounds.find_loose_limits("limits", settings.limits)
    yield from key_rules.find_expired_tenants(settings, now_ms)


def find_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Yield what is allowed but deserves a second look. `now_ms` is milliseconds since 1970."""
    yield from mode_rules.find_warnings(settings)
    if settings.mode == "live" and len(settings.build_routes().default) == 1:
        yield ConfigIssue("routing.providers", "has one provider: while it fails, no code is sent")
    yield from provider_rules.find_warnings(settings)
    yield from build_issues("policy", settings.policy.find_warnings())
    yield from _find_listener_warnings(settings.service)
    yield from limit_rules.find_warnings(settings)
    yield from pumping_rules.find_warnings(settings)
    for remedy in find_keyword_warnings(settings.effective_keywords):
        yield ConfigIssue("inbound.keywords", remedy)
    yield from audit_rules.find_warnings(settings, now_ms)
    if settings.redis.replicas == 0 and (settings.redis.sentinel or settings.redis.cluster):
        yield ConfigIssue("redis.replicas", "is 0: a failover may lose the last attempts")
    yield from key_rules.find_warnings(settings, now_ms)
    for name, table in settings.tenant_settings.items():
        if "*" in table.countries:
            remedy = "allow every country: SMS pumping targets the expensive ones"
            yield ConfigIssue(f"tenants.{name}.countries", remedy)
        if table.delivery_letters and not settings.can_deliver(name):
            yield ConfigIssue(f"tenants.{name}.delivery_letters", NO_DELIVERY_REMEDY)
        if not table.risk_check and settings.risk is None:
            yield ConfigIssue(f"tenants.{name}.risk_check", NO_RISK_REMEDY)


def _find_listener_warnings(service: ServiceSettings) -> Iterator[ConfigIssue]:
    if not is_loopback(service.host):
        yield ConfigIssue("service.host", f"is {service.host}: API keys and codes {EXPOSED_REMEDY}")
    if not is_loopback(service.admin_host):
        reason = "metrics and documents need no key there, and the keys of /audit"
        yield ConfigIssue(
            "service.admin_host", f"is {service.admin_host}: {reason} {EXPOSED_REMEDY}"
        )


def _check_hash(settings: Settings) -> Iterator[ConfigIssue]:
    profile = settings.hash.profile
    yield from build_issues("hash", profile.find_errors())
    if profile.is_below_owasp() and not settings.hash.accept_below_owasp:
        yield ConfigIssue("hash.memory_kib", BELOW_OWASP_REMEDY)


def _check_redis(settings: Settings) -> Iterator[ConfigIssue]:
    redis = settings.redis
    if [bool(redis.url), bool(redis.sentinel), bool(redis.cluster)].count(True) != 1:
        yield ConfigIssue("redis.url", "needs an address: either url, or sentinel, or cluster")
    if bool(redis.sentinel) != bool(redis.master):
        yield ConfigIssue("redis.master", "must be set together with sentinel, and only then")
    if redis.replicas and redis.wait_milliseconds >= redis.timeout_milliseconds:
        yield ConfigIssue("redis.wait_milliseconds", "must be less than redis.timeout_milliseconds")
    is_private = redis.is_encrypted or redis.accept_plain_text or _has_only_loopback(redis.hosts)
    if not is_private:
        yield ConfigIssue("redis.tls", PLAIN_TEXT_REMEDY)


def _check_public_url(url: str) -> Iterator[ConfigIssue]:
    if _is_exposed(url):
        yield ConfigIssue("service.public_url", "must be https, to protect receipts")


def _check_telemetry(telemetry: TelemetrySettings) -> Iterator[ConfigIssue]:
    headers = {name: value.reveal() for name, value in telemetry.secret_headers.items()}
    yield from build_issues("telemetry", find_header_errors("secret_headers", headers, secret=True))
    if telemetry.traces is None:
        return
    if headers and _is_exposed(telemetry.traces):
        yield ConfigIssue("telemetry.traces", "must be https, to protect secret_headers")
    if not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        yield ConfigIssue("telemetry.traces", "needs the extra: pip install 'otp-service[otel]'")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def _is_exposed(url: str) -> bool:
    return url.startswith("http:") and not _has_only_loopback((url.split("/")[2],))


def _has_only_loopback(hosts: tuple[str, ...]) -> bool:
    return all(is_loopback(re.sub(r":\d+\Z", "", host)) for host in hosts)


def _check_tenants(settings: Settings) -> Iterator[ConfigIssue]:
    if not settings.tenant_settings:
        yield ConfigIssue("tenants", "needs at least one tenant: only tenants can call the API")
    for name, table in settings.tenant_settings.items():
        sends = table.needs_brand or name in settings.hook_tenants
        yield from _check_tenant(f"tenants.{name}", table, sends=sends)
        if table.brand is not None and not settings.policy.find_errors():
            yield from _check_messages(settings, name)


def _check_tenant(path: str, table: TenantSettings, *, sends: bool) -> Iterator[ConfigIssue]:
    unknown = describe_unknown_countries(table.countries - {"*"})
    if table.brand is None and sends:
        yield ConfigIssue(f"{path}.brand", "is missing: it is the name in its messages")
    if not table.countries and sends:
        yield ConfigIssue(f"{path}.countries", 'needs the countries to send to, like ["GB", "IE"]')
    if unknown:
        yield ConfigIssue(f"{path}.countries", f"has {unknown}: use ISO 3166 codes like GB")
    if table.sender is not None and not SENDER_PATTERN.fullmatch(table.sender):
        remedy = "must be 1 to 11 letters, digits or spaces, or a number"
        yield ConfigIssue(f"{path}.sender", remedy)


def _check_messages(settings: Settings, tenant: str) -> Iterator[ConfigIssue]:
    try:
        messages = settings.create_message_renderer(tenant)
        minutes = max(settings.list_lifetimes(tenant)) // 60
        validate_messages(messages, settings.policy.digits, minutes)
        if settings.can_deliver(tenant):
            has_letters = settings.tenant_settings[tenant].delivery_letters
            chars = MAX_LETTER_CODE_CHARS if has_letters else MAX_DIGIT_CODE_CHARS
            validate_messages(messages, chars, MAX_VALID_MINUTES)
    except ValueError as error:
        field, _, text = str(error).partition(": ")
        if field in {"brand", "default_locale"}:
            yield ConfigIssue(f"tenants.{tenant}.{field}", text)
        elif field in MessageSettings.__struct_fields__:
            yield ConfigIssue(f"messages.{field}", text)
        else:
            yield ConfigIssue(f"tenants.{tenant}.brand", str(error))
