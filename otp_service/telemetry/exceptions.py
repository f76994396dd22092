"""What is told of an exception: its class and where it went, never what it says or held.

The texts of libraries carry URLs with credentials, numbers, SQL, whole replies of providers, and
frames hold codes in their locals. Ours are fixed sentences, so those are told.
"""

import traceback
from typing import Any, Final

from otp_service.core.errors import OtpError


_MAX_CHAINED_EXCEPTIONS: Final = 4
"""Exceptions of one chain; each after the first caused the one before it."""
_MAX_FRAMES: Final = 10
"""Of each, the innermost: a line stays under 4096 bytes, which workers write to a pipe as one."""


def describe_exception(error: BaseException | None) -> list[dict[str, Any]]:
    """Return class and stack of an exception and of what caused it, in this order."""
    told: list[dict[str, Any]] = []
    while error is not None and len(told) < _MAX_CHAINED_EXCEPTIONS:
        kind = type(error)
        told.append(
            {"type": f"{kind.__module__}.{kind.__qualname__}", "stack": _format_stack(error)}
        )
        if isinstance(error, OtpError):
            told[-1]["text"] = str(error)
        error = _find_cause(error)
    return told


def _format_stack(error: BaseException) -> list[str]:
    return [
        f"{frame.f_globals.get('__name__')}:{line}:{frame.f_code.co_qualname}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ][-_MAX_FRAMES:]


def _find_cause(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]  # a task group's first failure cancelled the others
    if error.__cause__ or error.__suppress_context__:
        return error.__cause__
    return error.__context__
