"""The only reading of the wall clock; other modules get the function or the instant passed in."""

import time


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000
