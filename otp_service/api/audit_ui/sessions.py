"""Who has logged in: a random token in a cookie, and of it here only the digest.

They live in this process, which alone serves the page. So whoever logs out is out, a copied cookie
with him, and nothing that a browser keeps is worth anything an hour later.
"""

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from otp_service.api.auth import ApiKeyRegistry
from otp_service.api.request_context import AuthenticatedRequest, is_loopback_host
from otp_service.core.errors import OtpError
from otp_service.core.tenant import ApiKey, Scope, Tenant
from otp_service.core.timestamps import SECOND_MS


AUDIT_SCOPES: Final = {Scope.AUDIT, Scope.AUDIT_ALL}

SESSION_LIFETIME_SECONDS: Final = 3600
"""Seconds."""

MAX_SESSIONS_PER_KEY: Final = 100
"""Sessions of one key at once; with one more, its oldest ends, and nobody else's."""


class _Session(NamedTuple):
    key_sha256: bytes
    """Of the API key that it was begun with."""
    ends_at: int


class SessionStore:
    """Begins, finds and ends them; `now` is in milliseconds, `token` gives 256 random bits."""

    def __init__(
        self, api_keys: ApiKeyRegistry, *, now: Callable[[], int], new_token: Callable[[], str]
    ) -> None:
        self._api_keys = api_keys
        self._now = now
        self._new_token = new_token
        self._sessions: dict[bytes, _Session] = {}

    def begin_session(self, sha256: bytes) -> str:
        """Return the token of a new one, for the key with this digest.

        Raises Unauthenticated or Forbidden, and counts it, as for every other call.
        """
        now = self._now()
        self._api_keys.authorize_digest(sha256, AUDIT_SCOPES, now)
        self._sessions = {of: one for of, one in self._sessions.items() if one.ends_at > now}
        own = [of for of, one in self._sessions.items() if one.key_sha256 == sha256]
        if len(own) >= MAX_SESSIONS_PER_KEY:
            del self._sessions[own[0]]
        token = self._new_token()
        self._sessions[_hash_token(token)] = _Session(
            sha256, now + SESSION_LIFETIME_SECONDS * SECOND_MS
        )
        return token

    def find_session_key(self, token: str) -> tuple[ApiKey, Tenant] | None:
        """Return whose it is, as long as it has not ended and its key may still do this."""
        session, now = self._sessions.get(_hash_token(token)), self._now()
        if session is None or now >= session.ends_at:
            return None
        try:
            return self._api_keys.authorize_digest(session.key_sha256, AUDIT_SCOPES, now)
        except OtpError:
            return None

    def end_session(self, token: str) -> None:
        """End it."""
        self._sessions.pop(_hash_token(token), None)


def get_session_token(request: AuthenticatedRequest) -> str:
    """Return the token that a browser has sent, or nothing."""
    name = _get_cookie_name(is_secure=not is_loopback_host(request.scope))
    return request.cookies.get(name, "")


def build_cookie_header(request: AuthenticatedRequest, token: str) -> dict[str, str]:
    """Return the header that has a browser keep a token, or with none forget it.

    Off loopback the cookie goes over TLS only: somebody's proxy has to terminate that.
    """
    is_secure = not is_loopback_host(request.scope)
    life = SESSION_LIFETIME_SECONDS if token else 0
    flags = f"Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"
    return {"Set-Cookie": f"{_get_cookie_name(is_secure=is_secure)}={token}; {flags}"}


def _get_cookie_name(*, is_secure: bool) -> str:
    # The prefix keeps neighbours under the same domain from setting it, and needs TLS.
    return "__Host-otp-audit" if is_secure else "otp-audit"


def _hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
