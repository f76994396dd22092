"""The settings of a live round: those of the simulated installation, as the file that `serve` reads."""

import json
import secrets
from base64 import urlsafe_b64encode
from pathlib import Path

import msgspec

from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.tenant import Scope, hash_api_key
from otp_service.settings.load import load_settings
from otp_service.settings.model import Settings
from tests.simulation.history import AuditSettings, TenantRules
from tests.simulation.world.configuration import (
    ALL_KEY_IDS,
    FIRST_KEY_IDS,
    OWN_NUMBERS,
    PROVIDER_NAMES,
    KeyIds,
    build_keys,
)


SCOPES = (Scope.CHALLENGES, Scope.DELIVER, Scope.OPERATOR)
BRAKE_MODES = {"shop": "record", "bank": "refuse"}
"""Those of the simulated installation."""

TIMEOUT_MS = 1_000
"""Of the store: twice the default, because this machine runs everything."""

WAIT_MS = 300
CALL_DEADLINE_MS = 30_000
"""Twice that of docs/api-guide.md: commands import all of the service, on a machine that runs everything."""

TEXT = """\
mode = "live"

[service]
host = "127.0.0.1"
admin_host = "127.0.0.1"
workers = 2

[redis]
{redis}
wait_milliseconds = {wait_ms}
timeout_milliseconds = {timeout_ms}

[hash]
memory_kib = 8
passes = 1
accept_below_owasp = true
max_wait_milliseconds = 5000
max_prepared_codes = 8

[limits]
SendsPerCountry = ["2000 in 1 h", "20000 in 1 d"]
SendsPerTenant = ["5000 in 1 h", "50000 in 1 d"]
SendsOverall = ["10000 in 1 h", "100000 in 1 d"]

[pumping]
day_budget = 1000000
country_floor = [10000, 100000]
new_countries_floor = [10000, 100000]

[audit]
archive = "none"

[routing]
providers = {providers}
"""

PROVIDER = """
[providers.{name}]
type = "http"
url = "{url}"
fields = {{ to = "{{to}}", text = "{{text}}", code = "{{code}}", reference = "{{reference}}" }}
message_id = "id"
code = "code"
recipient_codes = ["unknown-subscriber"]

[providers.{name}.receipt]
status = "status"
reference = "reference"
key = "{key}"
delivered = ["delivered"]
undeliverable = ["permanent-failure"]
expired = ["temporary-failure"]
failed = ["technical-failure"]

[providers.{name}.inbound]
sender = "from"
text = "text"
receiver = "to"
id = "id"
key = "{inbound_key}"
"""

TENANT = """
[tenants.{name}]
brand = "{brand}"
countries = ["GB", "DE"]
sender = "{sender}"
pumping = "{brake_mode}"
keys = [{{ id = "{name}", sha256 = "{sha256}", scopes = {scopes} }}]
"""


class LiveConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What every host of a round is configured with, and the secrets of its callers."""

    redis: str
    """The lines that say where the store is."""
    gateway_url: str
    """Followed by the name of the provider."""
    required_replicas: int
    api_keys: dict[str, str] = msgspec.field(
        default_factory=lambda: {name: secrets.token_urlsafe(32) for name in OWN_NUMBERS}
    )
    """By the tenant."""
    callback_key: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    inbound_key: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))

    def write(self, path: Path, key_ids: KeyIds = FIRST_KEY_IDS) -> None:
        """Write the file that `serve` and the commands read."""
        path.touch(mode=0o600)
        path.write_text(self.render(key_ids))

    def render(self, key_ids: KeyIds = FIRST_KEY_IDS) -> str:
        """Return the file with these keys in force."""
        text = TEXT.format(
            redis=f"{self.redis}\nreplicas = {self.required_replicas}",
            providers=json.dumps(PROVIDER_NAMES),
            wait_ms=WAIT_MS,
            timeout_ms=TIMEOUT_MS,
        )
        return text + self._render_keys(key_ids) + self._render_providers() + self._render_tenants()

    def build_audit_settings(self, probe_actors: frozenset[str]) -> AuditSettings:
        """Return the contract of this installation, as the service decodes it."""
        settings = load_settings(self.render(), {}, lambda _: "", cores=2)
        tenants, policy = settings.build_tenants(), settings.policy
        return AuditSettings(
            tenants={name: _build_rules(settings, name) for name in tenants},
            lifetime_ms=policy.lifetime * 1000,
            max_attempts=policy.attempts,
            max_sends=policy.sends,
            max_live_codes=policy.live_codes,
            code_digits=policy.digits,
            is_replicated=self.required_replicas > 0,
            call_deadline_ms=CALL_DEADLINE_MS,
            probe_actors=probe_actors,
            sender_tenants={number: tenant for tenant, number in OWN_NUMBERS.items()},
            secrets=(*self.api_keys.values(), self.callback_key, self.inbound_key, *_list_keys()),
        )

    def _render_keys(self, key_ids: KeyIds) -> str:
        keys = build_keys(key_ids)
        rings = {
            name: [
                f'{{ id = "{key.id}", secret = "{_encode_key(key.secret)}" }}'
                for key in getattr(keys, name)
            ]
            for name in KEY_RING_NAMES
        }
        lines = [f"{name} = [{', '.join(ring)}]" for name, ring in rings.items()]
        return "\n[keys]\n" + "\n".join(lines) + "\n"

    def _render_providers(self) -> str:
        return "".join(
            PROVIDER.format(
                name=name,
                url=f"{self.gateway_url}/{name}",
                key=f"{self.callback_key}-{name}",
                inbound_key=f"{self.inbound_key}-{name}",
            )
            for name in PROVIDER_NAMES
        )

    def _render_tenants(self) -> str:
        return "".join(
            TENANT.format(
                name=name,
                brand=name.capitalize(),
                sender=f"+{OWN_NUMBERS[name]}",
                brake_mode=BRAKE_MODES[name],
                sha256=hash_api_key(key).hex(),
                scopes=json.dumps(SCOPES),
            )
            for name, key in self.api_keys.items()
        )


def _build_rules(settings: Settings, tenant: str) -> TenantRules:
    limits = settings.build_tenants()[tenant].limits
    mode = settings.tenant_settings[tenant].pumping
    return TenantRules(
        limits={
            limit.value: tuple((window.count, window.period_seconds) for window in windows)
            for limit, windows in limits.items()
        },
        brake_mode="refuse" if mode is BrakeMode.REFUSE else "record",
    )


def _list_keys() -> list[str]:
    """Return every key in the forms in which it could be logged."""
    keys = build_keys(ALL_KEY_IDS)
    secret_keys = [key.secret for name in KEY_RING_NAMES for key in getattr(keys, name)]
    return [text for one in secret_keys for text in (one.hex(), _encode_key(one))]


def _encode_key(secret: bytes) -> str:
    return urlsafe_b64encode(secret).rstrip(b"=").decode()
