"""Who has logged in: a random token in a cookie, and of it here only the digest.

They live in this process, which alone serves the page. So whoever logs out is out, a copied cookie
with him, and nothing that a browser keeps is worth anything an hour later.
"""

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from otp_service.api.auth import Keyring
from otp_service.api.context import Call, names_loopback
from otp_service.core.errors import OtpError
from otp_service.core.policy import SECOND
from otp_service.core.tenant import ApiKey, Scope, Tenant


SCOPES: Final = {Scope.AUDIT, Scope.AUDIT_ALL}

LIFE: Final = 3600
"""Seconds."""

MOST: Final = 100
"""Sessions of one key at once; with one more, its oldest ends, and nobody else's."""


class _Session(NamedTuple):
    sha256: bytes
    """Of the API key that it was begun with."""
    ends: int


class Sessions:
    """Begins, finds and ends them; `now` is in milliseconds, `token` gives 256 random bits."""

    def __init__(
        self, keyring: Keyring, *, now: Callable[[], int], token: Callable[[], str]
    ) -> None:
        self._keyring = keyring
        self._now = now
        self._token = token
        self._sessions: dict[bytes, _Session] = {}

    def begin(self, sha256: bytes) -> str:
        """Return the token of a new one, for the key with this digest.

        Raises Unauthenticated or Forbidden, and counts it, as for every other call.
        """
        now = self._now()
        self._keyring.find(sha256, SCOPES, now)
        self._sessions = {of: one for of, one in self._sessions.items() if one.ends > now}
        own = [of for of, one in self._sessions.items() if one.sha256 == sha256]
        if len(own) >= MOST:
            del self._sessions[own[0]]
        token = self._token()
        self._sessions[_digest(token)] = _Session(sha256, now + LIFE * SECOND)
        return token

    def find(self, token: str) -> tuple[ApiKey, Tenant] | None:
        """Return whose it is, as long as it has not ended and its key may still do this."""
        session, now = self._sessions.get(_digest(token)), self._now()
        if session is None or now >= session.ends:
            return None
        try:
            return self._keyring.find(session.sha256, SCOPES, now)
        except OtpError:
            return None

    def end(self, token: str) -> None:
        """End it."""
        self._sessions.pop(_digest(token), None)


def token_in(request: Call) -> str:
    """Return the token that a browser has sent, or nothing."""
    name = _name(is_secure=not names_loopback(request.scope))
    return request.cookies.get(name, "")


def cookie(request: Call, token: str) -> dict[str, str]:
    """Return the header that has a browser keep a token, or with none forget it.

    Off loopback the cookie goes over TLS only: somebody's proxy has to terminate that.
    """
    is_secure = not names_loopback(request.scope)
    life = LIFE if token else 0
    flags = f"Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"
    return {"Set-Cookie": f"{_name(is_secure=is_secure)}={token}; {flags}"}


def _name(*, is_secure: bool) -> str:
    # The prefix keeps neighbours under the same domain from setting it, and needs TLS.
    return "__Host-otp-audit" if is_secure else "otp-audit"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
