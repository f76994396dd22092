"""The settings of an installation under each set of keys, made once in a process.

Each seed uses them again: to decode and to build them for each one would cost more than its calls.
"""

import functools
import hashlib
from collections.abc import Mapping

import msgspec

from otp_service.core.keys import KEY_RING_NAMES, Key, KeyRing, ServiceKeys
from otp_service.core.keywords import KeywordTable
from otp_service.core.limits import Limit, LimitTable, Window
from otp_service.core.messages import MessageRenderer
from otp_service.core.opt_out_scope import OptOutScopes
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.core.tenant import Scope, Tenant, hash_api_key
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import RoutingSettings
from otp_service.settings.tenant_tables import ApiKeySettings, TenantSettings
from otp_service.sms.routes import Routes


PROVIDER_NAMES = ("alpha", "beta", "gamma")
OWN_NUMBERS = {"shop": "447400999001", "bank": "447400999002"}
"""The sender of each tenant: a STOP to it is for this tenant alone."""

KeyIds = Mapping[str, tuple[str, ...]]
"""The ids of the keys in each ring, the one in force first."""

FIRST_KEY_IDS: KeyIds = dict.fromkeys(KEY_RING_NAMES, ("k1",))
ALL_KEY_IDS: KeyIds = dict.fromkeys(KEY_RING_NAMES, ("k1", "k2"))
"""Of every key that a rotation uses."""


DEFAULT_PROFILE = "default"
LIMIT_PROFILES: Mapping[str, LimitTable] = {
    DEFAULT_PROFILE: {},
    "few sends": {
        Limit.SENDS_NUMBER_TENANT: (Window(2, 120), Window(4, 900)),
        Limit.SENDS_NUMBER: (Window(3, 120), Window(5, 900)),
        Limit.SENDS_ACCOUNT: (Window(2, 180),),
        Limit.SENDS_ADDRESS: (Window(3, 180),),
        Limit.SENDS_PREFIX: (Window(6, 180), Window(20, 1800)),
        Limit.SENDS_TENANT: (Window(6, 120), Window(40, 3600)),
        Limit.RECOVERY_SETS: (Window(1, 120),),
    },
    "few failures": {
        Limit.FAILURES_NUMBER: (Window(2, 90), Window(5, 900)),
        Limit.FAILURES_ACCOUNT: (Window(2, 90), Window(5, 900)),
        Limit.AUTHENTICATOR_FAILURES: (Window(2, 90), Window(4, 600)),
        Limit.RECOVERY_FAILURES: (Window(2, 90), Window(4, 600)),
        Limit.FAILURES_ADDRESS: (Window(3, 120),),
        Limit.FAILURES_TENANT: (Window(5, 120), Window(50, 3600)),
    },
}
"""Limits of a run by name: with few units a run of few calls spends a budget, and waits for it."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What every worker with the same settings is built from."""

    settings: Settings
    tenants: Mapping[str, Tenant]
    message_renderers: Mapping[str, MessageRenderer]
    keywords: KeywordTable
    opt_out_scopes: OptOutScopes
    routes: Routes
    prices: PriceTable
    brake_settings: Mapping[str, BrakeSettings]
    versions: dict[str, str]


def build_configuration(
    key_ids: KeyIds = FIRST_KEY_IDS, limits: str = DEFAULT_PROFILE
) -> Configuration:
    """Return the configuration with these keys: two tenants, of which the brake refuses one's sends.

    `limits` names one of LIMIT_PROFILES.
    """
    return _build_configuration(tuple(key_ids[name] for name in KEY_RING_NAMES), limits)


@functools.cache
def _build_configuration(ids: tuple[tuple[str, ...], ...], limits: str) -> Configuration:
    settings = _build_settings(
        dict(zip(KEY_RING_NAMES, ids, strict=True)), dict(LIMIT_PROFILES[limits])
    )
    tenants = settings.build_tenants()
    return Configuration(
        settings=settings,
        tenants=tenants,
        message_renderers={name: settings.create_message_renderer(name) for name in tenants},
        keywords=settings.build_keyword_table(),
        opt_out_scopes=settings.build_opt_out_scopes(),
        routes=settings.build_routes(),
        prices=settings.build_price_table(),
        brake_settings={name: settings.build_brake_settings(name) for name in tenants},
        versions={
            "config": "simulated",
            **{n: i[0] for n, i in zip(KEY_RING_NAMES, ids, strict=True)},
        },
    )


def build_keys(key_ids: KeyIds) -> ServiceKeys:
    """Return the keys with these ids; a key has the same secret in each run."""
    return ServiceKeys(**{name: _build_ring(name, ids) for name, ids in key_ids.items()})


def _build_settings(key_ids: KeyIds, limits: dict[Limit, tuple[Window, ...]]) -> Settings:
    return Settings(
        limits=limits,
        keys=build_keys(key_ids),
        tenant_settings={
            "shop": _build_tenant("shop", BrakeMode.RECORD),
            "bank": _build_tenant("bank", BrakeMode.REFUSE),
        },
        routing=RoutingSettings(providers=PROVIDER_NAMES),
    )


def _build_tenant(name: str, brake_mode: BrakeMode) -> TenantSettings:
    return TenantSettings(
        brand=name.capitalize(),
        countries=frozenset({"GB", "DE"}),
        sender=OWN_NUMBERS[name],
        pumping=brake_mode,
        keys=(ApiKeySettings(name, hash_api_key(name).hex(), frozenset(Scope)),),
    )


def _build_ring(name: str, ids: tuple[str, ...]) -> KeyRing:
    return KeyRing(tuple(Key(key_id, _derive_secret(name, key_id)) for key_id in ids))


def _derive_secret(ring: str, key_id: str) -> bytes:
    return hashlib.sha256(f"simulated {ring} {key_id}".encode()).digest()
