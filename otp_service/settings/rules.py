"""What is unsafe in a configuration that can be read, and what is only unwise.

`serve` and `check` refuse to go on while `faults` names anything; `warnings` are shown. Both are
pure: what only a live Redis can tell (eviction, AOF, version, replicas) is asked by
`store/health.py`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec

from phonenumbers import SUPPORTED_REGIONS

from otp_service.core.ip_address import is_loopback
from otp_service.core.keys import MIN_KEY_BYTES, Key
from otp_service.core.messages import validate_messages
from otp_service.core.timestamps import DAY_MS, to_epoch_ms
from otp_service.settings import audit_rules, limit_rules
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import (
    ApiKeySettings,
    MessageSettings,
    Settings,
    TelemetrySettings,
    TenantSettings,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.routes import Route
from otp_service.sms.validation import find_header_errors


MIN_DISTINCT_BYTES = 12
"""32 random bytes have about 30 different ones; with under 12, somebody typed them."""

EXPIRY_NOTICE_MS = 30 * DAY_MS
"""How long before an API key expires somebody is told, in milliseconds."""

MAX_RING_KEYS = 2
KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")
SENDER_PATTERN = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}|\+[1-9]\d{6,14}", re.ASCII)


BELOW_OWASP_REMEDY = (
    "is below OWASP's table for argon2id with these passes: take 7168 KiB and 5 passes or 19456 KiB "
    "and 2, or set hash.accept_below_owasp = true and let 'check' say in hours what a thief needs"
)
PLAIN_TEXT_REMEDY = (
    "must be true (or the url rediss://) off loopback: numbers and codes' hashes would cross the "
    "network in the open. Where somebody keeps that wire private: redis.accept_plain_text = true"
)


def find_errors(settings: Settings, now_ms: int) -> list[ConfigIssue]:
    """Return everything that is refused, `now` being milliseconds since 1970."""
    return [
        *_to_issues("policy", settings.policy.find_errors()),
        *_check_hash(settings),
        *_check_keys(settings),
        *_check_redis(settings),
        *audit_rules.find_errors(settings.audit),
        *_check_public_url(settings.service.public_url or "https://"),
        *_check_telemetry(settings.telemetry),
        *limit_rules.find_errors(settings),
        *_check_tenants(settings, now_ms),
        *_check_providers(settings),
    ]


def find_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Tell what is allowed and yet worth a second look."""
    if settings.mode == "test":
        yield ConfigIssue(
            "mode", "is 'test': only fictitious numbers are accepted, nothing is sent"
        )
    elif len(settings.build_routes().default) == 1:
        yield ConfigIssue("routing.providers", "has one provider: when it fails, nobody can log in")
    yield from audit_rules.find_warnings(settings, now_ms)
    if settings.redis.replicas == 0 and (settings.redis.sentinel or settings.redis.cluster):
        yield ConfigIssue("redis.replicas", "is 0: a failover may forget the last attempts")
    for setting, keys in _list_key_rings(settings).items():
        if len(keys) > 1 and setting != "keys.pseudonym":
            yield ConfigIssue(
                setting, "has two keys: docs/key-rotation.md says when the old one may go"
            )
    for name, table in settings.tenant_settings.items():
        if "*" in table.countries:
            yield ConfigIssue(
                f"tenants.{name}.countries", "are all: SMS pumping looks for the dear ones"
            )
        for key in table.keys:
            if _has_expired(key, now_ms + EXPIRY_NOTICE_MS):
                yield ConfigIssue(
                    f"tenants.{name}.keys.{key.id}", "has expired, or will in 30 days"
                )


def _to_issues(section: str, pairs: Iterable[tuple[str, str]]) -> Iterator[ConfigIssue]:
    return (ConfigIssue(f"{section}.{field}", remedy) for field, remedy in pairs)


def _check_hash(settings: Settings) -> Iterator[ConfigIssue]:
    profile = settings.hash.profile
    yield from _to_issues("hash", profile.find_errors())
    if profile.is_below_owasp() and not settings.hash.accept_below_owasp:
        yield ConfigIssue("hash.memory_kib", BELOW_OWASP_REMEDY)


def _list_key_rings(settings: Settings) -> dict[str, tuple[Key, ...]]:
    keys = settings.keys
    return {
        "keys.pepper": keys.pepper.keys,
        "keys.seal": keys.seal.keys,
        "keys.state": keys.state.keys,
        "keys.pseudonym": keys.pseudonym.keys,
        "keys.limit": keys.limit.keys,
    }


def _check_keys(settings: Settings) -> Iterator[ConfigIssue]:
    rings = _list_key_rings(settings)
    for setting, keys in rings.items():
        yield from _check_key_ring(setting, keys)
    used = Counter(key.secret for keys in rings.values() for key in keys)
    for setting, keys in rings.items():
        if any(used[key.secret] > 1 for key in keys):
            yield ConfigIssue(setting, "has a secret that is used twice: make one for each key")


def _check_key_ring(setting: str, keys: tuple[Key, ...]) -> Iterator[ConfigIssue]:
    if not keys:
        yield ConfigIssue(setting, "needs a key: 'otp-service init' makes one of each")
    if len(keys) > MAX_RING_KEYS and setting != "keys.pseudonym":
        yield ConfigIssue(setting, "may have two keys, the one in force and the one before it")
    if len({key.id for key in keys}) < len(keys):
        yield ConfigIssue(setting, "needs a different id for each key: records name the key by it")
    for key in keys:
        if not KEY_ID_PATTERN.fullmatch(key.id):
            yield ConfigIssue(setting, "needs ids of 1 to 32 letters, digits, '.', '_' or '-'")
        if len(key.secret) < MIN_KEY_BYTES:
            yield ConfigIssue(
                setting, f"has a key that is short: take {MIN_KEY_BYTES} random bytes"
            )
        elif len(set(key.secret)) < MIN_DISTINCT_BYTES:
            yield ConfigIssue(setting, "has a key that was not made at random")


def _check_redis(settings: Settings) -> Iterator[ConfigIssue]:
    redis = settings.redis
    if [bool(redis.url), bool(redis.sentinel), bool(redis.cluster)].count(True) != 1:
        yield ConfigIssue("redis.url", "say where Redis is: either url, or sentinel, or cluster")
    if bool(redis.sentinel) != bool(redis.master):
        yield ConfigIssue("redis.master", "has to be given with sentinel, and only with it")
    if redis.replicas and redis.wait_milliseconds >= redis.timeout_milliseconds:
        yield ConfigIssue("redis.wait_milliseconds", "must be less than redis.timeout_milliseconds")
    if (
        not redis.is_encrypted
        and not redis.accept_plain_text
        and not _has_only_loopback(redis.hosts)
    ):
        yield ConfigIssue("redis.tls", PLAIN_TEXT_REMEDY)


def _check_public_url(url: str) -> Iterator[ConfigIssue]:
    if _is_exposed(url):
        yield ConfigIssue("service.public_url", "must be https: receipts would come in the open")


def _check_telemetry(telemetry: TelemetrySettings) -> Iterator[ConfigIssue]:
    headers = {name: value.reveal() for name, value in telemetry.secret_headers.items()}
    yield from _to_issues(
        "telemetry", [*find_header_errors("secret_headers", headers, secret=True)]
    )
    if telemetry.traces is None:
        return
    if headers and _is_exposed(telemetry.traces):
        yield ConfigIssue("telemetry.traces", "must be https: secret_headers would go in the open")
    if not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        yield ConfigIssue("telemetry.traces", "needs the extra: pip install 'otp-service[otel]'")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package around it is missing
        return False


def _is_exposed(url: str) -> bool:
    return url.startswith("http:") and not _has_only_loopback((url.split("/")[2],))


def _has_only_loopback(hosts: tuple[str, ...]) -> bool:
    return all(is_loopback(re.sub(r":\d+\Z", "", host)) for host in hosts)


def _check_providers(settings: Settings) -> Iterator[ConfigIssue]:
    providers, order = settings.providers, settings.routing.providers
    for name, provider in providers.items():
        yield from _to_issues(f"providers.{name}", provider.find_errors())
        if settings.mode == "test" and not isinstance(provider, Inbox):
            yield ConfigIssue(
                "mode", f"cannot be 'test' beside providers.{name}: take out one of them"
            )
        if settings.mode == "live" and isinstance(provider, Inbox):
            yield ConfigIssue(
                f"providers.{name}.type", "is 'inbox', which sends nothing: only for tests"
            )
    if not providers:
        yield ConfigIssue("providers", "needs at least one: nothing could be sent")
    if not order and len(providers) > 1:
        yield ConfigIssue("routing.providers", "say in which order they are tried")
    yield from _check_route(settings, "routing.providers", order)
    for place, route in settings.routing.routes.items():
        path = f"routing.routes.{place}"
        if not re.fullmatch(r"\+[1-9][0-9]{0,13}", place) and place not in SUPPORTED_REGIONS:
            yield ConfigIssue(
                path, "is for a country like GB, or the beginning of a number like +4474"
            )
        if not route:
            yield ConfigIssue(path, "is empty: name providers, or take it out")
        yield from _check_route(settings, path, route, place)


def _check_route(
    settings: Settings, path: str, route: Route, destination: str = ""
) -> Iterator[ConfigIssue]:
    for name in sorted(set(route) - settings.providers.keys()):
        yield ConfigIssue(path, f"names {name}, and there is no providers.{name}")
    if isinstance(route, dict) and any(share < 1 for share in route.values()):
        yield ConfigIssue(path, "has a share under 1: take that provider out")
    for name in sorted(set(route) & settings.providers.keys()):
        provider = settings.providers[name]
        if isinstance(provider, VendorSettings | Smpp) and not provider.can_serve(destination):
            yield ConfigIssue(
                path, f"has {name}, which has no number to send from there: senders.{destination}"
            )


def _check_tenants(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    if not settings.tenant_settings:
        yield ConfigIssue("tenants", "needs at least one: nobody could call")
    owners = Counter(key.sha256 for key in settings.build_api_keys())
    for name, table in settings.tenant_settings.items():
        yield from _check_tenant(f"tenants.{name}", table)
        if not settings.policy.find_errors():
            yield from _check_messages(settings, name)
        keys, path = table.keys, f"tenants.{name}.keys"
        if all(_has_expired(key, now_ms) for key in keys):
            yield ConfigIssue(
                path, "needs a key that has not expired: 'otp-service key new' makes one"
            )
        if len({key.id for key in keys}) < len(keys):
            yield ConfigIssue(path, "needs a different id for each key: events name the key by it")
        if any(owners[key.to_api_key(name).sha256] > 1 for key in keys):
            yield ConfigIssue(path, "has a key that stands here twice: make one for each use")


def _check_tenant(path: str, table: TenantSettings) -> Iterator[ConfigIssue]:
    unknown = ", ".join(sorted(table.countries - SUPPORTED_REGIONS - {"*"}))
    if not table.countries:
        yield ConfigIssue(f"{path}.countries", 'needs the countries to send to, like ["GB", "IE"]')
    if unknown:
        yield ConfigIssue(f"{path}.countries", f"has {unknown}: write ISO 3166 codes like GB")
    if table.sender is not None and not SENDER_PATTERN.fullmatch(table.sender):
        yield ConfigIssue(
            f"{path}.sender", "must be 1 to 11 letters, digits or spaces, or a number"
        )


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
