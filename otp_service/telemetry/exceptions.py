"""Exceptions in the log: class and stack, never the text of a library or the locals of a frame.

Texts of libraries contain URLs with credentials, numbers, SQL and whole replies of providers, and
locals contain codes. The texts of OtpError are fixed sentences, so those are logged.
"""

import traceback
from typing import Any, Final

from otp_service.core.errors import OtpError


_MAX_CHAINED_EXCEPTIONS: Final = 4
"""Exceptions of one chain: the error, its cause, the cause of that one, and so on."""
_MAX_FRAMES: Final = 10
"""Innermost frames of each: a line is then under 4096 bytes, which a pipe takes in one piece."""


def describe_exception(error: BaseException | None) -> list[dict[str, Any]]:
    """Return class and stack of an exception and of its causes, in this order."""
    descriptions: list[dict[str, Any]] = []
    while error is not None and len(descriptions) < _MAX_CHAINED_EXCEPTIONS:
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        descriptions.append({"type": name, "stack": _format_stack(error)})
        if isinstance(error, OtpError):
            descriptions[-1]["text"] = str(error)
        error = _find_cause(error)
    return descriptions


def _format_stack(error: BaseException) -> list[str]:
    return [
        f"{frame.f_globals.get('__name__')}:{line}:{frame.f_code.co_qualname}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ][-_MAX_FRAMES:]


def _find_cause(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]  # a task group's first failure has cancelled the others
    if error.__cause__ or error.__suppress_context__:
        return error.__cause__
    return error.__context__
