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
from otp_service.core.keys import KEY_BYTES, Key
from otp_service.core.messages import check_messages
from otp_service.settings import check_audit, check_limits
from otp_service.settings.decode import Fault
from otp_service.settings.model import (
    ApiKeyTable,
    Messages,
    Settings,
    Telemetry,
    TenantTable,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.providers.inbox import Inbox
from otp_service.sms.providers.smpp import Smpp
from otp_service.sms.routes import Route
from otp_service.sms.validation import header_faults


DISTINCT_BYTES = 12
"""32 random bytes have about 30 different ones; with under 12, somebody typed them."""

DAY = 24 * 3600 * 1000
MONTH = 30 * DAY
"""How long before an API key expires somebody is told, in milliseconds."""

RING_SIZE = 2
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
SENDER = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}|\+[1-9]\d{6,14}", re.ASCII)


BELOW_OWASP = (
    "is below OWASP's table for argon2id with these passes: take 7168 KiB and 5 passes or 19456 KiB "
    "and 2, or set hash.accept_below_owasp = true and let 'check' say in hours what a thief needs"
)
PLAIN_TEXT = (
    "must be true (or the url rediss://) off loopback: numbers and codes' hashes would cross the "
    "network in the open. Where somebody keeps that wire private: redis.accept_plain_text = true"
)


def faults(settings: Settings, now: int) -> list[Fault]:
    """Return everything that is refused, `now` being milliseconds since 1970."""
    return [
        *_told("policy", settings.policy.faults()),
        *_hash_faults(settings),
        *_key_faults(settings),
        *_redis_faults(settings),
        *check_audit.faults(settings.audit),
        *_public_faults(settings.service.public_url or "https://"),
        *_telemetry_faults(settings.telemetry),
        *check_limits.faults(settings),
        *_tenants_faults(settings, now),
        *_provider_faults(settings),
    ]


def warnings(settings: Settings, now: int) -> Iterator[Fault]:
    """Tell what is allowed and yet worth a second look."""
    if settings.mode == "test":
        yield Fault("mode", "is 'test': only fictitious numbers are accepted, nothing is sent")
    elif len(settings.routes().default) == 1:
        yield Fault("routing.providers", "has one provider: when it fails, nobody can log in")
    yield from check_audit.warnings(settings, now)
    if settings.redis.replicas == 0 and (settings.redis.sentinel or settings.redis.cluster):
        yield Fault("redis.replicas", "is 0: a failover may forget the last attempts")
    for setting, keys in _rings(settings).items():
        if len(keys) > 1 and setting != "keys.pseudonym":
            yield Fault(setting, "has two keys: ROTATION.md says when the old one may go")
    for name, table in settings.tenant_tables.items():
        if "*" in table.countries:
            yield Fault(f"tenants.{name}.countries", "are all: SMS pumping looks for the dear ones")
        for key in table.keys:
            if _expired(key, now + MONTH):
                yield Fault(f"tenants.{name}.keys.{key.id}", "has expired, or will in 30 days")


def _told(section: str, found: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    return (Fault(f"{section}.{field}", remedy) for field, remedy in found)


def _hash_faults(settings: Settings) -> Iterator[Fault]:
    profile = settings.hash.profile
    yield from _told("hash", profile.faults())
    if profile.below_owasp() and not settings.hash.accept_below_owasp:
        yield Fault("hash.memory_kib", BELOW_OWASP)


def _rings(settings: Settings) -> dict[str, tuple[Key, ...]]:
    keys = settings.keys
    return {
        "keys.pepper": keys.pepper.keys,
        "keys.seal": keys.seal.keys,
        "keys.state": keys.state.keys,
        "keys.pseudonym": keys.pseudonym.keys,
        "keys.limit": keys.limit.keys,
    }


def _key_faults(settings: Settings) -> Iterator[Fault]:
    rings = _rings(settings)
    for setting, keys in rings.items():
        yield from _ring_faults(setting, keys)
    used = Counter(key.secret for keys in rings.values() for key in keys)
    for setting, keys in rings.items():
        if any(used[key.secret] > 1 for key in keys):
            yield Fault(setting, "has a secret that is used twice: make one for each key")


def _ring_faults(setting: str, keys: tuple[Key, ...]) -> Iterator[Fault]:
    if not keys:
        yield Fault(setting, "needs a key: 'otp-service init' makes one of each")
    if len(keys) > RING_SIZE and setting != "keys.pseudonym":
        yield Fault(setting, "may have two keys, the one in force and the one before it")
    if len({key.id for key in keys}) < len(keys):
        yield Fault(setting, "needs a different id for each key: records name the key by it")
    for key in keys:
        if not KEY_ID.fullmatch(key.id):
            yield Fault(setting, "needs ids of 1 to 32 letters, digits, '.', '_' or '-'")
        if len(key.secret) < KEY_BYTES:
            yield Fault(setting, f"has a key that is short: take {KEY_BYTES} random bytes")
        elif len(set(key.secret)) < DISTINCT_BYTES:
            yield Fault(setting, "has a key that was not made at random")


def _redis_faults(settings: Settings) -> Iterator[Fault]:
    redis = settings.redis
    if [bool(redis.url), bool(redis.sentinel), bool(redis.cluster)].count(True) != 1:
        yield Fault("redis.url", "say where Redis is: either url, or sentinel, or cluster")
    if bool(redis.sentinel) != bool(redis.master):
        yield Fault("redis.master", "has to be given with sentinel, and only with it")
    if redis.replicas and redis.wait_milliseconds >= redis.timeout_milliseconds:
        yield Fault("redis.wait_milliseconds", "must be less than redis.timeout_milliseconds")
    if not redis.encrypted and not redis.accept_plain_text and not _all_loopback(redis.hosts):
        yield Fault("redis.tls", PLAIN_TEXT)


def _public_faults(url: str) -> Iterator[Fault]:
    if _is_open(url):
        yield Fault("service.public_url", "must be https: receipts would come in the open")


def _telemetry_faults(telemetry: Telemetry) -> Iterator[Fault]:
    headers = {name: value.reveal() for name, value in telemetry.secret_headers.items()}
    yield from _told("telemetry", [*header_faults("secret_headers", headers, secret=True)])
    if telemetry.traces is None:
        return
    if headers and _is_open(telemetry.traces):
        yield Fault("telemetry.traces", "must be https: secret_headers would go in the open")
    if not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        yield Fault("telemetry.traces", "needs the extra: pip install 'otp-service[otel]'")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package around it is missing
        return False


def _is_open(url: str) -> bool:
    return url.startswith("http:") and not _all_loopback((url.split("/")[2],))


def _all_loopback(hosts: tuple[str, ...]) -> bool:
    return all(is_loopback(re.sub(r":\d+\Z", "", host)) for host in hosts)


def _provider_faults(settings: Settings) -> Iterator[Fault]:
    providers, order = settings.providers, settings.routing.providers
    for name, provider in providers.items():
        yield from _told(f"providers.{name}", provider.faults())
        if settings.mode == "test" and not isinstance(provider, Inbox):
            yield Fault("mode", f"cannot be 'test' beside providers.{name}: take out one of them")
        if settings.mode == "live" and isinstance(provider, Inbox):
            yield Fault(f"providers.{name}.type", "is 'inbox', which sends nothing: only for tests")
    if not providers:
        yield Fault("providers", "needs at least one: nothing could be sent")
    if not order and len(providers) > 1:
        yield Fault("routing.providers", "say in which order they are tried")
    yield from _route_faults(settings, "routing.providers", order)
    for place, route in settings.routing.routes.items():
        path = f"routing.routes.{place}"
        if not re.fullmatch(r"\+[1-9][0-9]{0,13}", place) and place not in SUPPORTED_REGIONS:
            yield Fault(path, "is for a country like GB, or the beginning of a number like +4474")
        if not route:
            yield Fault(path, "is empty: name providers, or take it out")
        yield from _route_faults(settings, path, route, place)


def _route_faults(settings: Settings, path: str, route: Route, place: str = "") -> Iterator[Fault]:
    for name in sorted(set(route) - settings.providers.keys()):
        yield Fault(path, f"names {name}, and there is no providers.{name}")
    if isinstance(route, dict) and any(share < 1 for share in route.values()):
        yield Fault(path, "has a share under 1: take that provider out")
    for name in sorted(set(route) & settings.providers.keys()):
        provider = settings.providers[name]
        if isinstance(provider, VendorSettings | Smpp) and not provider.serves(place):
            yield Fault(
                path, f"has {name}, which has no number to send from there: senders.{place}"
            )


def _tenants_faults(settings: Settings, now: int) -> Iterator[Fault]:
    if not settings.tenant_tables:
        yield Fault("tenants", "needs at least one: nobody could call")
    owners = Counter(key.sha256 for key in settings.api_keys())
    for name, table in settings.tenant_tables.items():
        yield from _tenant_faults(f"tenants.{name}", table)
        if not settings.policy.faults():
            yield from _message_faults(settings, name)
        keys, path = table.keys, f"tenants.{name}.keys"
        if all(_expired(key, now) for key in keys):
            yield Fault(path, "needs a key that has not expired: 'otp-service key new' makes one")
        if len({key.id for key in keys}) < len(keys):
            yield Fault(path, "needs a different id for each key: events name the key by it")
        if any(owners[key.read(name).sha256] > 1 for key in keys):
            yield Fault(path, "has a key that stands here twice: make one for each use")


def _tenant_faults(path: str, table: TenantTable) -> Iterator[Fault]:
    unknown = ", ".join(sorted(table.countries - SUPPORTED_REGIONS - {"*"}))
    if not table.countries:
        yield Fault(f"{path}.countries", 'needs the countries to send to, like ["GB", "IE"]')
    if unknown:
        yield Fault(f"{path}.countries", f"has {unknown}: write ISO 3166 codes like GB")
    if table.sender is not None and not SENDER.fullmatch(table.sender):
        yield Fault(f"{path}.sender", "must be 1 to 11 letters, digits or spaces, or a number")


def _message_faults(settings: Settings, tenant: str) -> Iterator[Fault]:
    try:
        messages = settings.messages_of(tenant)
        check_messages(messages, settings.policy.digits, settings.policy.lifetime // 60)
    except ValueError as error:
        field, _, text = str(error).partition(": ")
        if field in {"brand", "default_locale"}:
            yield Fault(f"tenants.{tenant}.{field}", text)
        elif field in Messages.__struct_fields__:
            yield Fault(f"messages.{field}", text)
        else:
            yield Fault(f"tenants.{tenant}.brand", str(error))


def _expired(key: ApiKeyTable, now: int) -> bool:
    return key.expires is not None and key.expires.timestamp() * 1000 <= now
