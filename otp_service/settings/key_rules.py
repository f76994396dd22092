"""Rules for [keys] and for the API keys of tenants: each must be random, and open only what it must."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import product

from otp_service.core.keys import (
    KEY_RING_NAMES,
    MIN_KEY_BYTES,
    Key,
    is_random_digest,
    is_random_secret,
)
from otp_service.core.tenant import Scope
from otp_service.core.timestamps import DAY_MS, to_epoch_ms
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings
from otp_service.settings.tenant_tables import ApiKeySettings, TenantSettings
from otp_service.settings.value_types import KEY_ID_PATTERN


EXPIRY_NOTICE_MS = 30 * DAY_MS
"""A warning starts this long before an API key expires."""

MAX_RING_KEYS = 2

UNBOUNDED_RINGS = frozenset({"keys.pseudonym", "keys.authenticator"})
"""Their old keys stay: events name people by the one, and callers store tokens sealed under the other."""

WEAK_API_KEYS = (
    "",
    "admin",
    "api-key",
    "apikey",
    "changeme",
    "key",
    "otp",
    "password",
    "secret",
    "test",
)
"""Texts that are hashed by mistake: `echo $KEY | sha256sum` with an unset variable, and examples."""

LOGIN_SCOPES = frozenset({Scope.CHALLENGES, Scope.DELIVER, Scope.TWILIO_VERIFY})
"""The scopes of keys that the back ends of logins have."""

LOGIN_KEY_REMEDY = (
    "has the scope {} in addition to that of logins: a login back end that is broken into could {}. Generate "
    "a key of its own for it"
)
TWO_KEYS_REMEDY = "has two keys: remove the old one (docs/key-rotation.md)"
LIMIT_KEYS_REMEDY = (
    "has two keys: remove the old one when 'otp-service limit-key status' finds nothing under it"
)
UNEXPIRED_KEY_REMEDY = "needs an unexpired key: 'otp-service key new' generates one"


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield secrets that are missing, used twice or not random, and API keys that open nothing."""
    yield from _check_rings(settings)
    owners = Counter(key.sha256 for key in settings.build_api_keys())
    for name, table in settings.tenant_settings.items():
        if not table.keys and name not in settings.hook_tenants:
            yield ConfigIssue(f"tenants.{name}.keys", UNEXPIRED_KEY_REMEDY)
        yield from _check_api_keys(name, table, owners)


def find_warnings(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Yield keys that are being rotated, that expire soon, or that open more than one use needs."""
    for setting, keys in _list_key_rings(settings).items():
        if len(keys) > 1 and setting not in UNBOUNDED_RINGS:
            remedy = LIMIT_KEYS_REMEDY if setting == "keys.limit" else TWO_KEYS_REMEDY
            yield ConfigIssue(setting, remedy)
    for name, table in settings.tenant_settings.items():
        for key in table.keys:
            setting = f"tenants.{name}.keys.{key.id}"
            if _has_expired(key, now_ms):
                yield ConfigIssue(setting, f"has expired, at {key.expires}: remove it")
            elif _has_expired(key, now_ms + EXPIRY_NOTICE_MS):
                yield ConfigIssue(setting, f"expires within 30 days, at {key.expires}")
            yield from _check_scopes(setting, key.scopes)


def find_expired_tenants(settings: Settings, now_ms: int) -> Iterator[ConfigIssue]:
    """Yield the tenants all of whose API keys have expired.

    `check` refuses them. The service runs with them, because other tenants need it, and answers
    their keys 401.
    """
    for name, table in settings.tenant_settings.items():
        if table.keys and all(_has_expired(key, now_ms) for key in table.keys):
            yield ConfigIssue(f"tenants.{name}.keys", UNEXPIRED_KEY_REMEDY)


def _list_key_rings(settings: Settings) -> dict[str, tuple[Key, ...]]:
    return {f"keys.{name}": getattr(settings.keys, name).keys for name in KEY_RING_NAMES}


def _check_rings(settings: Settings) -> Iterator[ConfigIssue]:
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
    if len(keys) > MAX_RING_KEYS and setting not in UNBOUNDED_RINGS:
        yield ConfigIssue(setting, "may have two keys: the current one and the previous one")
    if len({key.id for key in keys}) < len(keys):
        yield ConfigIssue(setting, "needs a different id for each key: records refer to it")
    for key in keys:
        if not KEY_ID_PATTERN.fullmatch(key.id):
            yield ConfigIssue(setting, "needs ids of 1 to 32 letters, digits, '.', '_' or '-'")
        if len(key.secret) < MIN_KEY_BYTES:
            yield ConfigIssue(setting, f"has a short key: use {MIN_KEY_BYTES} random bytes")
        elif not is_random_secret(key.secret):
            ring = setting.removeprefix("keys.")
            remedy = (
                f"has a key that is not random: 'otp-service key new --secret {ring}' makes one"
            )
            yield ConfigIssue(setting, remedy)


def _check_api_keys(
    name: str, table: TenantSettings, owners: Counter[bytes]
) -> Iterator[ConfigIssue]:
    keys, path = table.keys, f"tenants.{name}.keys"
    if len({key.id for key in keys}) < len(keys):
        yield ConfigIssue(path, "needs a different id for each key: events refer to it")
    if any(owners[key.to_api_key(name).sha256] > 1 for key in keys):
        yield ConfigIssue(path, "has the same key twice: generate one for each use")
    weak = _hash_weak_keys(name, *(key.id for key in keys))
    for key in keys:
        if key.sha256 in weak or not is_random_digest(bytes.fromhex(key.sha256)):
            remedy = "is not of a random key: use what 'otp-service key new' prints"
            yield ConfigIssue(f"{path}.{key.id}.sha256", remedy)
        if not key.scopes:
            scopes = ", ".join(Scope)
            yield ConfigIssue(f"{path}.{key.id}.scopes", f"is empty: name at least one of {scopes}")


def _hash_weak_keys(*names: str) -> frozenset[str]:
    """Return the SHA-256 of each weak key and name, also with a line break as `echo` adds it."""
    texts = product((*WEAK_API_KEYS, *names), ("", "\n", "\r\n"))
    return frozenset(hashlib.sha256(f"{text}{end}".encode()).hexdigest() for text, end in texts)


def _check_scopes(setting: str, scopes: frozenset[Scope]) -> Iterator[ConfigIssue]:
    if scopes & LOGIN_SCOPES:
        if Scope.OPERATOR in scopes:
            yield ConfigIssue(setting, LOGIN_KEY_REMEDY.format("'operator'", "unlock every number"))
        if Scope.AUDIT_ALL in scopes:
            action = "read the events of all tenants"
            yield ConfigIssue(setting, LOGIN_KEY_REMEDY.format("'audit-all'", action))


def _has_expired(key: ApiKeySettings, now_ms: int) -> bool:
    return key.expires is not None and to_epoch_ms(key.expires) <= now_ms
