"""What the auditor has to know of the installation, from its settings."""

import functools

from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.pumping.scopes import BrakeMode
from tests.simulation.history import AuditSettings, TenantRules
from tests.simulation.world.configuration import (
    ALL_KEY_IDS,
    DEFAULT_PROFILE,
    OWN_NUMBERS,
    Configuration,
    build_configuration,
    build_keys,
)


@functools.cache
def build_audit_settings(
    *,
    is_replicated: bool = False,
    probe_actors: frozenset[str] = frozenset(),
    limits: str = DEFAULT_PROFILE,
) -> AuditSettings:
    """Return the contract of this installation: limits, lifetimes, modes and secrets."""
    configuration = build_configuration(limits=limits)
    policy = configuration.settings.policy
    return AuditSettings(
        tenants={name: _build_rules(configuration, name) for name in configuration.tenants},
        lifetime_ms=policy.lifetime * 1000,
        max_attempts=policy.attempts,
        max_sends=policy.sends,
        max_live_codes=policy.live_codes,
        code_digits=policy.digits,
        is_replicated=is_replicated,
        probe_actors=probe_actors,
        sender_tenants={number: tenant for tenant, number in OWN_NUMBERS.items()},
        secrets=tuple(_list_secrets()),
    )


def _build_rules(configuration: Configuration, tenant: str) -> TenantRules:
    limits = configuration.tenants[tenant].limits
    mode = configuration.settings.tenant_settings[tenant].pumping
    return TenantRules(
        limits={
            limit.value: tuple((window.count, window.period_seconds) for window in windows)
            for limit, windows in limits.items()
        },
        brake_mode="refuse" if mode is BrakeMode.REFUSE else "record",
    )


def _list_secrets() -> list[str]:
    """Return every key in the forms in which it could be logged."""
    keys = build_keys(ALL_KEY_IDS)
    return [key.secret.hex() for name in KEY_RING_NAMES for key in getattr(keys, name)]
