"""Sessions on the server for FastAPI, which has none: Starlette's SessionMiddleware is a cookie.

They are in the memory of one process. Where there are more, one store for all of them, such as Redis,
replaces `SessionStore`.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any, Final


LIFETIME_SECONDS: Final = 8 * 3600


class SessionStore:
    """All sessions. Only a right password makes one, so visitors do not fill the memory."""

    def __init__(self, get_time: Callable[[], float] = time.monotonic) -> None:
        self._sessions: dict[str, tuple[float, dict[str, Any]]] = {}
        self._get_time = get_time
        self._csrf_key = secrets.token_bytes(32)

    def open(self, session_id: str | None) -> "ServerSession":
        """Return the session with this id; an empty one if it is unknown or has expired."""
        deadline, values = self._sessions.get(session_id or "", (0.0, {}))
        if deadline <= self._get_time():
            values = {}
        return ServerSession(self, session_id or secrets.token_urlsafe(32), values)

    def replace(self, session_id: str, values: dict[str, Any]) -> str:
        """Delete a session and store these values under a new id, which is returned."""
        self._sessions.pop(session_id, None)
        now = self._get_time()
        for each, (deadline, _) in list(self._sessions.items()):
            if deadline <= now:
                self._sessions.pop(each, None)
        new_id = secrets.token_urlsafe(32)
        if values:
            self._sessions[new_id] = (now + LIFETIME_SECONDS, values)
        return new_id

    def compute_csrf_token(self, session_id: str) -> str:
        """Return the token of the forms of a session, which nothing else can compute."""
        return hmac.digest(self._csrf_key, session_id.encode(), "sha256").hex()


class ServerSession:
    """The session of one request."""

    def __init__(self, store: SessionStore, session_id: str, values: dict[str, Any]) -> None:
        self._store, self.id, self._values = store, session_id, values

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def put(self, name: str, value: Any) -> None:
        self._values[name] = value

    def renew(self, **values: Any) -> None:
        self.id, self._values = self._store.replace(self.id, values), values

    @property
    def csrf_token(self) -> str:
        """What each form of this session carries."""
        return self._store.compute_csrf_token(self.id)

    def is_csrf_token(self, token: str) -> bool:
        return hmac.compare_digest(self.csrf_token.encode(), token.encode(errors="replace"))
