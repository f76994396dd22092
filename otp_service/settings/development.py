"""The settings of `otp-service dev`: one tenant, every country, an inbox instead of a phone.

The keys are made on the first start and kept in the data folder, so that a restart keeps live
challenges; they protect nothing but a developer's own machine.
"""

import json
from collections.abc import Callable
from pathlib import Path

from otp_service.core.keys import KEY_RING_NAMES, ServiceKeys, create_single_key_ring
from otp_service.core.tenant import Scope, hash_api_key
from otp_service.settings.model import (
    ApiKeySettings,
    AuditSettings,
    RedisSettings,
    ServiceSettings,
    Settings,
    TenantSettings,
)
from otp_service.sms.providers.inbox import Inbox


SECRETS_FILE = "keys.json"
REDIS_URL_FILE = "redis.url"
"""The file in which `dev` leaves its Redis's address, for commands that look at what it does."""
DEV_TENANT = "dev"


def create_dev_settings(
    service: ServiceSettings,
    redis_url: str,
    secrets: dict[str, str],
    audit: AuditSettings | None = None,
) -> Settings:
    """Return the settings for these listeners, this Redis, and secrets as `dev_secrets` has them."""
    rings = {name: create_single_key_ring("dev", secrets[name]) for name in KEY_RING_NAMES}
    key = ApiKeySettings("dev", hash_api_key(secrets["api_key"]).hex(), frozenset(Scope))
    return Settings(
        keys=ServiceKeys(**rings),
        service=service,
        redis=RedisSettings(url=redis_url),
        audit=audit or AuditSettings(),
        tenant_settings={
            DEV_TENANT: TenantSettings(brand="Example", countries=frozenset({"*"}), keys=(key,))
        },
        providers={"inbox": Inbox()},
    )


def load_dev_settings(folder: Path) -> Settings:
    """Return the settings of the `dev` that keeps its data there. Raises OSError if none has yet."""
    kept = json.loads((folder / SECRETS_FILE).read_text(encoding="utf-8"))
    redis_url = (folder / REDIS_URL_FILE).read_text(encoding="utf-8")
    return create_dev_settings(ServiceSettings(), redis_url, kept, create_dev_audit(folder))


def create_dev_audit(folder: Path) -> AuditSettings:
    """Return where `dev` archives."""
    return AuditSettings(
        archive=str(folder / "archive"), signing_key=str(get_dev_signing_key_path(folder))
    )


def get_dev_signing_key_path(folder: Path) -> Path:
    """Return the file with the key that seals there."""
    return folder / "audit.pem"


def ensure_dev_secrets(
    folder: Path, api_key: str | None, generate_token: Callable[[], str]
) -> dict[str, str]:
    """Return the keys kept in the folder, made where they are missing; `api_key` overrides."""
    path = folder / SECRETS_FILE
    names = (*KEY_RING_NAMES, "api_key")
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    secrets = {name: kept.get(name) or generate_token() for name in names}
    if secrets != kept:
        path.touch(mode=0o600)
        path.write_text(json.dumps(secrets, indent=2), encoding="utf-8")
    return secrets | ({"api_key": api_key} if api_key else {})
