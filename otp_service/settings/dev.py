"""The settings of `otp-service dev`: one tenant, every country, an inbox instead of a phone.

The keys are made on the first start and kept in the data folder, so that a restart keeps live
challenges; they protect nothing but a developer's own machine.
"""

import json
from collections.abc import Callable
from pathlib import Path

from otp_service.core.keys import RINGS, Keys, ring_of
from otp_service.core.tenant import Scope, digest
from otp_service.settings.model import ApiKeyTable, Audit, Redis, Service, Settings, TenantTable
from otp_service.sms.providers.inbox import Inbox


FILE = "keys.json"
REDIS = "redis.url"
"""The file in which `dev` leaves its Redis's address, for commands that look at what it does."""
TENANT = "dev"


def dev_settings(
    service: Service, redis_url: str, secrets: dict[str, str], audit: Audit | None = None
) -> Settings:
    """Return the settings for these listeners, this Redis, and secrets as `dev_secrets` has them."""
    rings = {name: ring_of("dev", secrets[name]) for name in RINGS}
    key = ApiKeyTable("dev", digest(secrets["api_key"]).hex(), frozenset(Scope))
    return Settings(
        keys=Keys(**rings),
        service=service,
        redis=Redis(url=redis_url),
        audit=audit or Audit(),
        tenant_tables={
            TENANT: TenantTable(brand="Example", countries=frozenset({"*"}), keys=(key,))
        },
        providers={"inbox": Inbox()},
    )


def dev_settings_in(folder: Path) -> Settings:
    """Return the settings of the `dev` that keeps its data there. Raises OSError if none has yet."""
    kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
    redis_url = (folder / REDIS).read_text(encoding="utf-8")
    return dev_settings(Service(), redis_url, kept, dev_audit(folder))


def dev_audit(folder: Path) -> Audit:
    """Return where `dev` archives."""
    return Audit(archive=str(folder / "archive"), signing_key=str(dev_signing_key(folder)))


def dev_signing_key(folder: Path) -> Path:
    """Return the file with the key that seals there."""
    return folder / "audit.pem"


def dev_secrets(folder: Path, api_key: str | None, token: Callable[[], str]) -> dict[str, str]:
    """Return the keys kept in the folder, made where they are missing; `api_key` overrides."""
    path = folder / FILE
    names = (*RINGS, "api_key")
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    secrets = {name: kept.get(name) or token() for name in names}
    if secrets != kept:
        path.touch(mode=0o600)
        path.write_text(json.dumps(secrets, indent=2), encoding="utf-8")
    return secrets | ({"api_key": api_key} if api_key else {})
