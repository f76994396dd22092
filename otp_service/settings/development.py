"""The settings of `otp-service dev`: one tenant, every country, an inbox instead of a phone.

The keys are generated at the first start and stored in the data folder, so that live challenges
survive a restart. They protect only a developer's machine.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import KEY_RING_NAMES, ServiceKeys, create_single_key_ring
from otp_service.core.policy import Policy
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.secret import Secret
from otp_service.core.tenant import Scope, hash_api_key
from otp_service.hooks import Generic, Hook, Supabase
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import (
    AuditSettings,
    RedisSettings,
    ServiceSettings,
    TestSettings,
)
from otp_service.settings.tenant_tables import (
    ApiKeySettings,
    TenantSettings,
    TwilioVerifySettings,
    VerifyServiceSettings,
)
from otp_service.sms.providers.inbox import Inbox


SECRETS_FILE = "keys.json"
REDIS_URL_FILE = "redis.url"
"""The file with the address of the Redis of `dev`, for commands that inspect it."""
BRAKE_MODE_FILE = "pumping.mode"
"""The file with the mode of the brake in the newest run, for the same commands."""
DEV_TENANT = "dev"
DEV_ACCOUNT_SID = f"AC{'0' * 32}"
DEV_SERVICE_SID = f"VA{'0' * 32}"


class DevOptions(NamedTuple):
    """What the options of one run of `dev` change."""

    has_relaxed_limits: bool = True
    """Whether the limits of fictitious numbers are relaxed (`core/relaxed_limits.py`)."""
    policy: Policy = Policy()
    fixed_codes: FixedCodes = FixedCodes()
    brake_mode: BrakeMode = BrakeMode.RECORD


DEFAULT_DEV_OPTIONS = DevOptions()


def create_dev_settings(
    service: ServiceSettings,
    redis_url: str,
    secrets: dict[str, str],
    audit: AuditSettings | None = None,
    options: DevOptions = DEFAULT_DEV_OPTIONS,
) -> Settings:
    """Return the settings; `secrets` is the result of `ensure_dev_secrets`."""
    rings = {name: create_single_key_ring("dev", secrets[name]) for name in KEY_RING_NAMES}
    key = ApiKeySettings("dev", hash_api_key(secrets["api_key"]).hex(), frozenset(Scope))
    verify = TwilioVerifySettings(
        DEV_ACCOUNT_SID, {DEV_SERVICE_SID: _create_verify_service(options.policy)}
    )
    tenant = TenantSettings(
        brand="Example",
        countries=frozenset({"*"}),
        pumping=options.brake_mode,
        trust_known=True,  # so that an application can be tried with it
        keys=(key,),
        twilio_verify=verify,
    )
    return Settings(
        mode="development",
        test=TestSettings(options.has_relaxed_limits, options.fixed_codes),
        policy=options.policy,
        keys=ServiceKeys(**rings),
        service=service,
        redis=RedisSettings(url=redis_url),
        audit=audit or AuditSettings(),
        tenant_settings={DEV_TENANT: tenant},
        hooks=create_dev_hooks(secrets["api_key"]),
        providers={"inbox": Inbox()},
    )


def _create_verify_service(policy: Policy) -> VerifyServiceSettings:
    """Return the Verify Service of `dev`: its codes too expire sooner if an option says so."""
    if policy.lifetime == Policy().lifetime:
        return VerifyServiceSettings()
    return VerifyServiceSettings(lifetime=policy.lifetime)


def create_dev_hooks(api_key: str) -> dict[str, Hook]:
    """Return a hook `supabase` and a hook `generic`, whose secret is the API key.

    Supabase writes a secret in base64. The paths of `generic` are the names of POST /v1/deliveries.
    """
    encoded = base64.b64encode(api_key.encode()).decode()
    return {
        "supabase": Supabase(tenant=DEV_TENANT, secrets={"dev": Secret(f"v1,whsec_{encoded}")}),
        "generic": Generic(
            tenant=DEV_TENANT,
            secrets={"dev": Secret(api_key)},
            phone_number="phone_number",
            code="code",
            locale="locale",
            account="account",
            client_ip="client_ip",
        ),
    }


def load_dev_settings(folder: Path) -> Settings:
    """Return the settings of the `dev` with this data folder. Raises OSError without data."""
    secrets = json.loads((folder / SECRETS_FILE).read_text(encoding="utf-8"))
    redis_url = (folder / REDIS_URL_FILE).read_text(encoding="utf-8")
    mode = BrakeMode((folder / BRAKE_MODE_FILE).read_text(encoding="utf-8"))
    options = DevOptions(brake_mode=mode)
    audit = create_dev_audit(folder)
    return create_dev_settings(ServiceSettings(), redis_url, secrets, audit, options)


def create_dev_audit(folder: Path) -> AuditSettings:
    signing_key = str(get_dev_signing_key_path(folder))
    return AuditSettings(archive=str(folder / "archive"), signing_key=signing_key)


def get_dev_signing_key_path(folder: Path) -> Path:
    return folder / "audit.pem"


def ensure_dev_secrets(
    folder: Path, api_key: str | None, generate_token: Callable[[], str]
) -> dict[str, str]:
    """Return the stored keys, and generate and store missing ones; `api_key` overrides."""
    path = folder / SECRETS_FILE
    names = (*KEY_RING_NAMES, "api_key")
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    secrets = {name: stored.get(name) or generate_token() for name in names}
    if secrets != stored:
        path.touch(mode=0o600)
        path.write_text(json.dumps(secrets, indent=2), encoding="utf-8")
    return secrets | ({"api_key": api_key} if api_key else {})
