"""Rules for settings that can be decoded: errors are unsafe, warnings deserve a second look.

`serve` and `check` refuse to run while `find_errors` returns anything. All rules are pure;
`store/health.py` checks what only a live Redis knows (eviction, AOF, version, replicas).
"""

import re
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec

from phonenumbers import SUPPORTED_REGIONS

from otp_service.core.ip_address import is_loopback
from otp_service.core.keys import KEY_RING_NAMES, MIN_KEY_BYTES, Key
from otp_service.core.messages import validate_messages
from otp_service.core.timestamps import DAY_MS, to_epoch_ms
from otp_service.settings import audit_rules, limit_rules, provider_rules
from otp_service.settings.decode import ConfigIssue, build_issues
from otp_service.settings.model import (
    ApiKeySettings,
    MessageSettings,
    Settings,
    TelemetrySettings,
    TenantSettings,
)
from otp_service.sms.validation import find_header_errors


MIN_DISTINCT_BYTES = 12
"""32 random bytes have about 30 different values; fewer than 12 mean a typed key."""

EXPIRY_NOTICE_MS = 30 * DAY_MS
"""A warning starts this long before an API key expires."""

MAX_RING_KEYS = 2
KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")
SENDER_PATTERN = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}|\+[1-9]\d{6,14}", re.ASCII)

BELOW_OWASP_REMEDY = (
    "is below OWASP's table for argon2id with these passes: use 7168 KiB and 5 passes or 19456 KiB "
    "and 2, or set hash.accept_below_owasp = true and read the hours of an attack that 'check' shows"
)
PLAIN_TEXT_REMEDY = (
    "must be true (or the url rediss://) off loopback: otherwise records cross the network in "
    "plain text. If that network is private, set redis.accept_plain_text = true"
)


def find_errors(settings: Settings, now_ms: int) -> list[ConfigIssue]:
    """Return every error. `now_ms` is milliseconds since 1970."""
    return [
        *build_issues("policy", settings.policy.find_errors()),
        *_check_hash(settings),
        *_check_keys(settings),
        *_check_redis(settings),
        *audit_rules.find_errors(settings.audit),
        *_check_public_url(settings.service.public_url or "https://"),
        *_check_telemetry(settings.telemetry),
        *limit_rules.find_errors(settings),
        *_check_tenants(settings, now_ms),
        *provider_rules.find_errors(settings),
    ]


def find_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Yield what is allowed but deserves a second look."""
    if settings.mode == "test":
        yield ConfigIssue("mode", "is 'test': only fictitious numbers, and nothing is sent")
    elif len(settings.build_routes().default) == 1:
        yield ConfigIssue("routing.providers", "has one provider: while it fails, no code is sent")
    yield from audit_rules.find_warnings(settings, now_ms)
    if settings.redis.replicas == 0 and (settings.redis.sentinel or settings.redis.cluster):
        yield ConfigIssue("redis.replicas", "is 0: a failover may lose the last attempts")
    for setting, keys in _list_key_rings(settings).items():
        if len(keys) > 1 and setting != "keys.pseudonym":
            yield ConfigIssue(setting, "has two keys: remove the old one (docs/key-rotation.md)")
    for name, table in settings.tenant_settings.items():
        if "*" in table.countries:
            remedy = "allow every country: SMS pumping targets the expensive ones"
            yield ConfigIssue(f"tenants.{name}.countries", remedy)
        for key in table.keys:
            if _has_expired(key, now_ms + EXPIRY_NOTICE_MS):
                remedy = "has expired or expires within 30 days"
                yield ConfigIssue(f"tenants.{name}.keys.{key.id}", remedy)


def _check_hash(settings: Settings) -> Iterator[ConfigIssue]:
    profile = settings.hash.profile
    yield from build_issues("hash", profile.find_errors())
    if profile.is_below_owasp() and not settings.hash.accept_below_owasp:
        yield ConfigIssue("hash.memory_kib", BELOW_OWASP_REMEDY)


def _list_key_rings(settings: Settings) -> dict[str, tuple[Key, ...]]:
    return {f"keys.{name}": getattr(settings.keys, name).keys for name in KEY_RING_NAMES}


def _check_keys(settings: Settings) -> Iterator[ConfigIssue]:
    rings = _list_key_rings(settings)
    for setting, keys in rings.items():
        yield from _check_key_ring(setting, keys)
    used = Counter(key.secret for keys in rings.values() for key in keys)
    for setting, keys in rings.items():
        if any(used[key.secret] > 1 for key in keys):
            yield ConfigIssue(setting, "has a secret that is used twice: generate one for each key")


def _check_key_ring(setting: str, keys: tuple[Key, ...]) -> Iterator[ConfigIssue]:
    if not keys:
        yield ConfigIssue(setting, "needs a key: 'otp-service init' generates one of each")
    if len(keys) > MAX_RING_KEYS and setting != "keys.pseudonym":
        yield ConfigIssue(setting, "may have two keys: the current one and the previous one")
    if len({key.id for key in keys}) < len(keys):
        yield ConfigIssue(setting, "needs a different id for each key: records refer to it")
    for key in keys:
        if not KEY_ID_PATTERN.fullmatch(key.id):
            yield ConfigIssue(setting, "needs ids of 1 to 32 letters, digits, '.', '_' or '-'")
        if len(key.secret) < MIN_KEY_BYTES:
            yield ConfigIssue(setting, f"has a short key: use {MIN_KEY_BYTES} random bytes")
        elif len(set(key.secret)) < MIN_DISTINCT_BYTES:
            yield ConfigIssue(setting, "has a key that is not random")


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


def _check_tenants(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    if not settings.tenant_settings:
        yield ConfigIssue("tenants", "needs at least one tenant: only tenants can call the API")
    owners = Counter(key.sha256 for key in settings.build_api_keys())
    for name, table in settings.tenant_settings.items():
        yield from _check_tenant(f"tenants.{name}", table)
        if not settings.policy.find_errors():
            yield from _check_messages(settings, name)
        keys, path = table.keys, f"tenants.{name}.keys"
        if all(_has_expired(key, now_ms) for key in keys):
            yield ConfigIssue(path, "needs an unexpired key: 'otp-service key new' generates one")
        if len({key.id for key in keys}) < len(keys):
            yield ConfigIssue(path, "needs a different id for each key: events refer to it")
        if any(owners[key.to_api_key(name).sha256] > 1 for key in keys):
            yield ConfigIssue(path, "has the same key twice: generate one for each use")


def _check_tenant(path: str, table: TenantSettings) -> Iterator[ConfigIssue]:
    unknown = ", ".join(sorted(table.countries - SUPPORTED_REGIONS - {"*"}))
    if not table.countries:
        yield ConfigIssue(f"{path}.countries", 'needs the countries to send to, like ["GB", "IE"]')
    if unknown:
        yield ConfigIssue(f"{path}.countries", f"has {unknown}: write ISO 3166 codes like GB")
    if table.sender is not None and not SENDER_PATTERN.fullmatch(table.sender):
        remedy = "must be 1 to 11 letters, digits or spaces, or a number"
        yield ConfigIssue(f"{path}.sender", remedy)


def _check_messages(settings: Settings, tenant: str) -> Iterator[ConfigIssue]:
    try:
        messages = settings.create_message_renderer(tenant)
        validate_messages(messages, settings.policy.digits, settings.policy.lifetime // 60)
    except ValueError as error:
        field, _, text = str(error).partition(": ")
        if field in {"brand", "default_locale"}:
            yield ConfigIssue(f"tenants.{tenant}.{field}", text)
        elif field in MessageSettings.__struct_fields__:
            yield ConfigIssue(f"messages.{field}", text)
        else:
            yield ConfigIssue(f"tenants.{tenant}.brand", str(error))


def _has_expired(key: ApiKeySettings, now_ms: int) -> bool:
    return key.expires is not None and to_epoch_ms(key.expires) <= now_ms
