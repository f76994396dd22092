"""Sessions of the page: a random token in a cookie, of which only the digest is stored.

Only this process serves the page, and it holds the sessions in memory. So a logout also ends a
copied cookie, and an hour later no cookie is valid.
"""

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from otp_service.api.audit import AUDIT_SCOPES
from otp_service.api.auth import ApiKeyRegistry
from otp_service.api.request_context import AuthenticatedRequest, is_loopback_host
from otp_service.core.errors import OtpError
from otp_service.core.tenant import ApiKey, Tenant
from otp_service.core.timestamps import SECOND_MS


SESSION_LIFETIME_SECONDS: Final = 3600

MAX_SESSIONS_PER_KEY: Final = 100
"""Concurrent sessions of one key. One more ends the oldest of the same key."""


class _Session(NamedTuple):
    key_sha256: bytes
    """Digest of the API key that began it."""
    ends_at: int


class SessionStore:
    """Holds the sessions; `now` is in milliseconds, `new_token` returns 256 random bits as text.

    With `has_tls` a proxy terminates TLS, and the cookie always requires it. Otherwise the cookie
    requires it on other hosts than loopback. A proxy may send its own loopback address as Host.
    """

    def __init__(
        self,
        api_keys: ApiKeyRegistry,
        *,
        now: Callable[[], int],
        new_token: Callable[[], str],
        has_tls: bool = False,
    ) -> None:
        self._has_tls = has_tls
        self._api_keys = api_keys
        self._now = now
        self._new_token = new_token
        self._sessions: dict[bytes, _Session] = {}

    def begin_session(self, sha256: bytes) -> str:
        """Return the token of a new session for the key with this digest.

        Raises Unauthenticated or Forbidden; either is counted, as for every other call.
        """
        now = self._now()
        self._api_keys.authorize_digest(sha256, AUDIT_SCOPES, now)
        self._sessions = {key: s for key, s in self._sessions.items() if s.ends_at > now}
        own = [key for key, s in self._sessions.items() if s.key_sha256 == sha256]
        if len(own) >= MAX_SESSIONS_PER_KEY:
            del self._sessions[own[0]]
        token = self._new_token()
        ends_at = now + SESSION_LIFETIME_SECONDS * SECOND_MS
        self._sessions[_hash_token(token)] = _Session(sha256, ends_at)
        return token

    def find_session_key(self, token: str) -> tuple[ApiKey, Tenant] | None:
        """Return the key and tenant of a session, while both it and its key are valid."""
        session, now = self._sessions.get(_hash_token(token)), self._now()
        if session is None or now >= session.ends_at:
            return None
        try:
            return self._api_keys.authorize_digest(session.key_sha256, AUDIT_SCOPES, now)
        except OtpError:
            return None

    def end_session(self, token: str) -> None:
        self._sessions.pop(_hash_token(token), None)

    def get_token(self, request: AuthenticatedRequest) -> str:
        """Return the token in the cookie, or an empty text."""
        name = _get_cookie_name(is_secure=self._requires_tls(request))
        return request.cookies.get(name, "")

    def build_cookie_header(self, request: AuthenticatedRequest, token: str) -> dict[str, str]:
        """Return the header that sets the cookie, or deletes it if the token is empty."""
        is_secure = self._requires_tls(request)
        max_age = SESSION_LIFETIME_SECONDS if token else 0
        flags = f"Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict"
        flags += "; Secure" if is_secure else ""
        return {"Set-Cookie": f"{_get_cookie_name(is_secure=is_secure)}={token}; {flags}"}

    def _requires_tls(self, request: AuthenticatedRequest) -> bool:
        return self._has_tls or not is_loopback_host(request.scope)


def _get_cookie_name(*, is_secure: bool) -> str:
    # The prefix keeps other hosts of the same domain from setting the cookie, and requires TLS.
    return "__Host-otp-audit" if is_secure else "otp-audit"


def _hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
