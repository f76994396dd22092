"""The host that the running task belongs to, for the names of connections and of faults."""

from contextvars import ContextVar


CURRENT_HOST: ContextVar[str] = ContextVar("current_host", default="client")
"""Tasks inherit it. It is neutral: `world` sets it, and the simulated network reads it."""
