"""The configuration that `init` writes: commented, safe, and with new keys.

In live mode only the address of the SMS provider is missing; `check` reports it until it is filled in. In
test mode nothing is, and every key is one for tests.
"""

import string
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files

from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.tenant import hash_api_key
from otp_service.schemas import Mode
from otp_service.settings.fixed_code_rules import TEST_KEY_PREFIX
from otp_service.settings.service_tables import NO_ARCHIVE


AUDIT_TENANT = """
# The security team, whose key reads the events of all tenants: at /audit of the admin listener, and as
# GET /v1/audit/events. It sends nothing, so it needs no brand and no countries.
[tenants.{name}]
keys = [
  {{ id = "{id_prefix}first", sha256 = "{sha256}", scopes = ["audit-all"] }},
]
"""
TEST_TABLE = """
[test]
relaxed_limits = true          # for a CI job, which logs in hundreds of times; a rehearsal needs false
# fixed_codes = { "+447700900555" = "123456" }    # the code that a fictitious number always gets
"""
TEST_PROVIDER_TABLE = """\
# Messages are stored for tests, which read them at /inbox of the admin listener. Nothing is sent.
[providers.inbox]
type = "inbox"
"""
UNUSED_KEY_LINE = '# signing_key = "/etc/otp-service/audit.pem"'


def render_config(  # noqa: PLR0913  # every value that the template needs
    *,
    tenant: str,
    brand: str,
    countries: Iterable[str],
    generate_token: Callable[[], str],
    mode: Mode = "live",
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
    `generate_token` returns base64url of 32 random bytes (core.keys.generate_secret).
    """
    api_key = generate_token()
    id_prefix = "" if mode == "live" else TEST_KEY_PREFIX
    values = {
        **_build_mode_values(mode, provider_url),
        "id_prefix": id_prefix,
        "tenant": tenant,
        "brand": quote_toml(brand),
        "countries": f"[{', '.join(quote_toml(country) for country in countries)}]",
        "pseudonym_id": pseudonym_id,
        "seal_id": seal_id,
        "authenticator_id": authenticator_id,
        "archive": quote_toml(archive),
        "signing_key": f"signing_key = {quote_toml(signing_key)}"
        if signing_key
        else UNUSED_KEY_LINE,
        "api_key_sha256": hash_api_key(api_key).hex(),
        "audit_tenant": _render_audit_tenant(tenant, audit_key_sha256, id_prefix),
        **{name: generate_token() for name in KEY_RING_NAMES},
    }
    return _render_template("template.toml", values), api_key


def _build_mode_values(mode: Mode, provider_url: str) -> dict[str, str]:
    """Return what the modes differ in. The Redis of tests is not that of a live service."""
    if mode == "live":
        values = {"provider_url": quote_toml(provider_url)}
        providers = _render_template("template_providers.toml", values)
        return {
            "mode": mode,
            "test_table": "",
            "redis_url": "redis://127.0.0.1:6379/0",
            "provider_tables": providers,
            "provider": "gateway",
        }
    return {
        "mode": mode,
        "test_table": TEST_TABLE,
        "redis_url": "redis://127.0.0.1:6380/0",
        "provider_tables": TEST_PROVIDER_TABLE,
        "provider": "inbox",
    }


def _render_template(name: str, values: Mapping[str, str]) -> str:
    template = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return string.Template(template).substitute(values)


def choose_audit_tenant(tenant: str) -> str:
    """Return the name of the security team next to this tenant."""
    return "security" if tenant != "security" else "security-team"


def _render_audit_tenant(tenant: str, sha256: str, id_prefix: str) -> str:
    if not sha256:
        return ""
    name = choose_audit_tenant(tenant)
    return AUDIT_TENANT.format(name=name, sha256=sha256, id_prefix=id_prefix)


def quote_toml(text: str) -> str:
    """Return the text as a TOML basic string, with quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
