"""The configuration that `init` writes: commented, safe, and with new keys.

Only the address of the SMS provider is missing; `check` reports it until it is filled in.
"""

import string
from collections.abc import Callable, Iterable
from importlib.resources import files

from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.tenant import hash_api_key
from otp_service.settings.model import NO_ARCHIVE


AUDIT_TENANT = """
# The security team, whose key reads the events of all tenants: at /audit of the admin listener, and as
# GET /v1/audit/events. It sends nothing, so it needs no brand and no countries.
[tenants.{name}]
keys = [
  {{ id = "first", sha256 = "{sha256}", scopes = ["audit-all"] }},
]
"""
UNUSED_KEY_LINE = '# signing_key = "/etc/otp-service/audit.pem"'


def render_config(  # noqa: PLR0913  # every value that the template needs
    *,
    tenant: str,
    brand: str,
    countries: Iterable[str],
    generate_token: Callable[[], str],
    provider_url: str = "",
    pseudonym_id: str = "n1",
    seal_id: str = "s1",
    authenticator_id: str = "a1",
    archive: str = NO_ARCHIVE,
    signing_key: str = "",
    audit_key_sha256: str = "",
) -> tuple[str, str]:
    """Return the configuration and the API key of its tenant, whose hash it contains.

    With a date at the start of `pseudonym_id` and `seal_id`, `check` warns when the key is too old.
    With `audit_key_sha256` there is a second tenant, the security team, whose key has this hash.
    `archive` is the folder of the archive, and `signing_key` the file of the key that seals it.
    `generate_token` returns base64url of 32 random bytes (secrets.token_urlsafe).
    """
    api_key = generate_token()
    values = {
        "tenant": tenant,
        "brand": quote_toml(brand),
        "countries": f"[{', '.join(quote_toml(country) for country in countries)}]",
        "provider_url": quote_toml(provider_url),
        "pseudonym_id": pseudonym_id,
        "seal_id": seal_id,
        "authenticator_id": authenticator_id,
        "archive": quote_toml(archive),
        "signing_key": f"signing_key = {quote_toml(signing_key)}"
        if signing_key
        else UNUSED_KEY_LINE,
        "api_key_sha256": hash_api_key(api_key).hex(),
        "audit_tenant": _render_audit_tenant(tenant, audit_key_sha256),
        **{name: generate_token() for name in KEY_RING_NAMES},
    }
    template = files(__package__).joinpath("template.toml").read_text(encoding="utf-8")
    return string.Template(template).substitute(values), api_key


def choose_audit_tenant(tenant: str) -> str:
    """Return the name of the security team next to this tenant."""
    return "security" if tenant != "security" else "security-team"


def _render_audit_tenant(tenant: str, sha256: str) -> str:
    if not sha256:
        return ""
    return AUDIT_TENANT.format(name=choose_audit_tenant(tenant), sha256=sha256)


def quote_toml(text: str) -> str:
    """Return the text as a TOML basic string, with quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
