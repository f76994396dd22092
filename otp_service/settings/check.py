"""What is unsafe in a configuration that can be read, and what is only unwise.

`serve` and `check` refuse to go on while `faults` names anything; `warnings` are shown. Both are
pure: what only a live Redis can tell (eviction, AOF, version, replicas) is asked by
`store/health.py`, and `report` has a place for it.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

from otp_service.core.keys import KEY_BYTES, Key
from otp_service.settings import limits, tenants
from otp_service.settings.model import Settings
from otp_service.settings.reading import Fault
from otp_service.sms.providers.inbox import Inbox


DISTINCT_BYTES = 12
"""32 random bytes have about 30 different ones; with under 12, somebody typed them."""

RING_SIZE = 2
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


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
        *limits.faults(settings),
        *tenants.faults(settings, now),
        *_provider_faults(settings),
    ]


def warnings(settings: Settings, now: int) -> list[Fault]:
    """Return what is allowed and yet worth a second look."""
    return [
        *_warnings(settings),
        *limits.warnings(settings),
        *tenants.warnings(settings, now),
    ]


def is_loopback(host: str) -> bool:
    """Whether nobody else can reach this address, or listen on the way to it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _told(section: str, found: list[tuple[str, str]]) -> Iterator[Fault]:
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
        "keys.limit": (keys.limit,),
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
    for name in sorted(set(order) - providers.keys()):
        yield Fault("routing.providers", f"names {name}, and there is no providers.{name}")


def _warnings(settings: Settings) -> Iterator[Fault]:
    redis = settings.redis
    if not is_loopback(settings.service.admin_host):
        yield Fault("service.admin_host", "shows metrics without a key: it is not on loopback")
    if not _all_loopback(redis.hosts) and redis.password is None:
        yield Fault("redis.password", "is not set: an ACL user of its own needs one")
    if redis.replicas == 0 and (redis.sentinel or redis.cluster):
        yield Fault("redis.replicas", "is 0: a failover may forget the last attempts")
    for setting, keys in _rings(settings).items():
        if len(keys) > 1 and setting != "keys.pseudonym":
            yield Fault(setting, "has two keys: ROTATION.md says when the old one may go")
    if settings.mode == "test":
        yield Fault("mode", "is 'test': only fictitious numbers are accepted, nothing is sent")
    elif len(settings.provider_order()) == 1:
        yield Fault("routing.providers", "has one provider: when it fails, nobody can log in")
