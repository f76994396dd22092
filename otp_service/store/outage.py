"""Since when a server has answered nothing, whichever of its lines was used.

A lost connection does not show that a server is away: the next one is mostly opened at once. A call is
refused because a server is away only after this outage has lasted for `MAX_OUTAGE_TIMEOUTS`. So calls
outlive a short one, and in a long one each is refused at its first try.
"""

MAX_OUTAGE_TIMEOUTS = 3
"""How often the timeout of the client passes before calls are refused."""


class Outage:
    """The outage of one server, if there is one. All times are those of the event loop, in seconds."""

    def __init__(self, timeout: float) -> None:
        self._max_seconds = MAX_OUTAGE_TIMEOUTS * timeout
        self._began_at: float | None = None

    @property
    def has_begun(self) -> bool:
        return self._began_at is not None

    def begin(self, silent_since: float) -> None:
        """Note that nothing has been heard of the server since this time, on one line at least."""
        if self._began_at is None:
            self._began_at = silent_since

    def end(self) -> None:
        """Note that a line was opened, or that the server has sent something on one."""
        self._began_at = None

    def is_too_long(self, now: float) -> bool:
        return self._began_at is not None and now - self._began_at >= self._max_seconds
