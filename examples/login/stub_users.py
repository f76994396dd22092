"""A STUB: five users in memory, with one password. Your own table of users replaces this module.

What the login needs of a row is in `User`. A real `check_password` compares with a slow hash, takes the
same time for an unknown name, and limits guesses by name and by client address.
"""

import secrets
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Final


STUB_PASSWORD: Final = "worthless"  # noqa: S105  # it protects nothing


@dataclass(frozen=True)
class User:
    """The row of a user."""

    account: str
    """An opaque name for the service: it never changes, and never goes to another user."""
    name: str
    phone_number: str = field(repr=False)
    """In E.164, and verified when it was added."""
    authenticator: str | None = field(default=None, repr=False)
    """The sealed token of the authenticator app: text, 1,100 characters."""
    recovery_set: str | None = field(default=None, repr=False)
    """The sealed token of the recovery codes: text, 1,600 characters."""
    recovery_codes_left: int = 0


class StubUsers:
    """The table of users."""

    def __init__(self) -> None:
        users = (
            User("u-81", "alice", "+12025550181"),
            User("u-82", "bob", "+12025550182"),
            User("u-83", "carol", "+12025550183"),
            # docs/testing.md: no provider reaches this number, and every provider fails for that one.
            User("u-84", "dave", "+19895550191"),
            User("u-85", "erin", "+19895550192"),
        )
        self._users = {user.account: user for user in users}
        self._lock = threading.Lock()

    def check_password(self, name: str, password: str) -> User | None:
        """Return the user with this name and password."""
        is_right = secrets.compare_digest(password.encode(errors="replace"), STUB_PASSWORD.encode())
        found = [user for user in self._users.values() if user.name == name]
        return found[0] if found and is_right else None

    def find_user(self, account: str) -> User | None:
        return self._users.get(account)

    def store_authenticator(self, account: str, token: str | None) -> None:
        """Replace the token of the app; without one its codes verify nothing."""
        with self._lock:
            self._users[account] = replace(self._users[account], authenticator=token)

    def store_recovery_set(self, account: str, token: str, codes_left: int) -> None:
        """Replace the token of the recovery codes: that of an older one verifies nothing."""
        with self._lock:
            self._users[account] = replace(
                self._users[account], recovery_set=token, recovery_codes_left=codes_left
            )

    def store_verified(self, user: User, **verified: Any) -> bool:
        """Store what a verify returned, if the user still has both tokens; return whether.

        In one step: UPDATE … WHERE account = … AND authenticator = … AND recovery_set = …. During the
        verify the user may have removed a lost app, and storing its token would bring it back.
        """
        with self._lock:
            if self._users[user.account] != user:
                return False
            self._users[user.account] = replace(user, **verified)
            return True
