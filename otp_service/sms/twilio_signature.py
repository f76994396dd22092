"""The signatures of Twilio's callbacks: what is signed, with which key, and in how many ways it reads."""

import hashlib
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from otp_service.core.secret import Secret
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackSignatureError,
    parse_form,
    require_equal,
)
from otp_service.sms.signatures import compute_signature, has_one_sender, require_any_equal


SIGNATURE_SETTINGS_HEADER: Final = "x-twilio-webhooks-signature-settings"
SIGNATURE_DIGESTS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}


def verify_signature(
    callback: Callback, auth_token: Secret | None, shared_key: Secret | None = None
) -> None:
    """Raise CallbackSignatureError unless Twilio signed the exact address and the form.

    www.twilio.com/docs/usage/security: HMAC-SHA1 over both, in base64, with the token. A Webhooks
    Rule signs with a shared key, and its header names the hash:
    www.twilio.com/docs/usage/webhooks/webhook-shared-keys. Of JSON only a hash is signed, which is in
    the address. The address may or may not have its port, so both are accepted, as in Twilio's own
    SDK. The signature has no time: a receipt that is repeated changes nothing, and a
    repeated message is known by its id, for as long as the store keeps it.
    """
    settings = callback.headers.get(SIGNATURE_SETTINGS_HEADER, "")
    key, digest = (shared_key, _parse_digest(settings)) if settings else (auth_token, "sha1")
    if key is None or digest is None:
        raise CallbackSignatureError
    signed = (f"{url}{_join_signed_fields(callback)}" for url in _list_url_spellings(callback.url))
    secret = key.reveal().encode()
    candidates = [compute_signature(secret, each.encode(), digest) for each in signed]
    require_any_equal(callback.headers.get("x-twilio-signature", ""), candidates)


def _parse_digest(settings: str) -> str | None:
    """Return the hash of "key=…,algorithm=HMAC_SHA256", if it is a known one."""
    parts = (part.strip().partition("=") for part in settings.split(","))
    names = [value.strip() for name, _, value in parts if name.strip() == "algorithm"]
    return SIGNATURE_DIGESTS.get(names[0].upper() if names else "HMAC_SHA1")


def _join_signed_fields(callback: Callback) -> str:
    """Return the fields as they are signed. Raises CallbackSignatureError for a wrong body hash."""
    if not is_json(callback):
        pairs = parse_form(callback.text)
        return "".join(name + value for name, value in sorted(set(pairs)))
    require_equal(hashlib.sha256(callback.body).hexdigest(), callback.query.get("bodySHA256", ""))
    return ""


def is_json(callback: Callback) -> bool:
    """Whether the body is JSON, which is signed in another way than a form."""
    return callback.headers.get("content-type", "").lower().startswith("application/json")


def has_certain_sender(callback: Callback) -> bool:
    """Return whether what is signed can be read as a message of one sender only.

    By GET the address alone is signed, so it could also have the fields of a form.
    """
    form, query = parse_form(callback.text), parse_form(urlsplit(callback.url).query)
    return has_one_sender(form or query, unquote(callback.url) + _join_signed_fields(callback))


def _list_url_spellings(url: str) -> list[str]:
    parts = urlsplit(url)
    bare = re.sub(r":[0-9]+$", "", parts.netloc)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [parts._replace(netloc=netloc).geturl() for netloc in (bare, f"{bare}:{port}")]
