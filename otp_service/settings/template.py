"""The configuration that `init` writes: commented, with fresh keys, and safe as it stands.

Only the address of the SMS provider is left for a person to fill in; `check` says so until then.
"""

import string
from collections.abc import Callable, Iterable
from importlib.resources import files

from otp_service.core.keys import KEY_RING_NAMES
from otp_service.core.tenant import hash_api_key


def render_config(  # noqa: PLR0913  # what a person and chance give it
    *,
    tenant: str,
    brand: str,
    countries: Iterable[str],
    generate_token: Callable[[], str],
    provider_url: str = "",
    pseudonym_id: str = "n1",
) -> tuple[str, str]:
    """Return the configuration and the API key of its tenant, of which it holds only the hash.

    `pseudonym_id` begins with today's date where `check` is to say when that key is too old.
    `token` makes one secret at each call: base64url of 32 random bytes (secrets.token_urlsafe).
    """
    api_key = generate_token()
    values = {
        "tenant": tenant,
        "brand": quote_toml(brand),
        "countries": f"[{', '.join(quote_toml(country) for country in countries)}]",
        "provider_url": quote_toml(provider_url),
        "pseudonym_id": pseudonym_id,
        "api_key_sha256": hash_api_key(api_key).hex(),
        **{name: generate_token() for name in KEY_RING_NAMES},
    }
    template = files(__package__).joinpath("template.toml").read_text(encoding="utf-8")
    return string.Template(template).substitute(values), api_key


def quote_toml(text: str) -> str:
    """Return the text as a basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
