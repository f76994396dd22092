"""What is told of an exception: its class and where it went, never what it says or held.

The texts of libraries carry URLs with credentials, numbers, SQL, whole replies of providers, and
frames hold codes in their locals. Ours are fixed sentences, so those are told.
"""

import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

from otp_service.core.errors import OtpError


_CHAIN: Final = 4
"""Exceptions of one chain; each after the first caused the one before it."""
_FRAMES: Final = 16
_FRAMES_OF_CAUSES: Final = 6

_PRINTED_PLACE: Final = re.compile(r'^ *\|? *File "([^"\n]+)", line (\d+), in (\S+)', re.MULTILINE)
_PRINTED_CLASS: Final = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)", re.MULTILINE)


def described(error: BaseException | None) -> list[dict[str, Any]]:
    """Return class and stack of an exception and of what caused it, in this order."""
    frames = [_FRAMES] + [_FRAMES_OF_CAUSES] * (_CHAIN - 1)
    return [_one(one, most) for one, most in zip(_chain(error), frames, strict=False)]


def printed(text: str) -> list[dict[str, Any]]:
    """Return the same of a traceback that somebody has made a text of."""
    classes = _PRINTED_CLASS.findall(text)
    places = [place(file, line, name) for file, line, name in _PRINTED_PLACE.findall(text)]
    return [{"type": classes[-1] if classes else "unknown", "stack": places[-_FRAMES:]}]


def place(file: str, line: int | str | None, function: str) -> str:
    """Return `file:line:function`, the file as it is imported and not where it is installed."""
    return f"{_short(file)}:{line}:{function}"


def _one(error: BaseException, most: int) -> dict[str, Any]:
    kind = type(error)
    told: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(error, OtpError):
        told["text"] = str(error)
    return told | {"stack": _stack(error.__traceback__)[-most:]}


def _stack(trace: TracebackType | None) -> list[str]:
    return [
        place(frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in traceback.walk_tb(trace)
    ]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = _cause(error)


def _cause(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]  # a task group's first failure cancelled the others
    if error.__cause__ or error.__suppress_context__:
        return error.__cause__
    return error.__context__


@lru_cache(1024)
def _short(file: str) -> str:
    installed = {*sys.path, *sysconfig.get_paths().values()} - {"", "/"}
    for folder in sorted(installed, key=len, reverse=True):
        if file.startswith(folder + "/"):
            return file[len(folder) + 1 :]
    return "/".join(file.split("/")[-2:])
