"""What the login needs of a session, whatever the framework."""

from typing import Any, Protocol


class Session(Protocol):
    """A session on the server. The browser has its random id, and nothing else.

    So a cookie that holds the values is not one, signed or not: it shows the id of a challenge, and an
    older copy of it brings back an earlier state.
    """

    def get(self, name: str) -> Any:
        """Return a value, or None."""

    def put(self, name: str, value: Any) -> None:
        """Set a value that JSON can hold."""

    def renew(self, **values: Any) -> None:
        """Replace the id and all values. The old id opens nothing: it may have been planted."""
