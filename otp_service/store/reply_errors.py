"""The errors of redis-py for an error reply of Redis, and those for a call that has no reply."""

from collections.abc import Mapping
from typing import Self

from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Disconnected


ERROR_CLASSES: Mapping[str, type[RedisError]] = {
    "ASK": AskError,
    "MOVED": MovedError,
    "NOAUTH": AuthenticationError,
    "NOPERM": NoPermissionError,
    "NOSCRIPT": NoScriptError,
    "READONLY": ReadOnlyError,
    "WRONGPASS": AuthenticationError,
}
"""The classes that callers distinguish, by the code of the reply; any other is ResponseError."""


class CallInterrupted(Disconnected):
    """A connection was closed before the reply to a call; the cause is why.

    It is unknown whether the commands were run. `is_due` is true for the call whose reply was to
    come next, because it may be the reason: the others only shared its connection.
    """

    def __init__(self, *args: object, is_due: bool = False) -> None:
        super().__init__(*args)
        self.is_due = is_due

    @classmethod
    def by(cls, error: BaseException | None, *, is_due: bool) -> Self:
        """Return an interruption for the reason for which the connection was closed."""
        interrupted = cls("the connection to Redis was closed during a call", is_due=is_due)
        interrupted.__cause__ = error
        return interrupted


class ServerUnavailable(Disconnected):
    """A call that is not worth repeating: the server is away, or the client was closed."""


class UnexpectedReply(Disconnected):
    """Bytes that are no reply, or not the reply that was due; the connection was closed."""


def parse_error_reply(text: str) -> RedisError:
    """Return the error for an error reply, such as "NOSCRIPT No matching script."."""
    code, _, rest = text.partition(" ")
    error_class = ERROR_CLASSES.get(code)
    return error_class(rest, status_code=code) if error_class else ResponseError(text)
