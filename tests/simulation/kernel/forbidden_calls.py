"""Finds reads of real clocks and of randomness without a seed, and threads, however they are imported.

A patched `time.monotonic` would miss a default argument and `from time import monotonic`. The profiler of
the interpreter sees each call of a function in C that Python code makes.
"""

import _thread
import gc
import logging
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tests.simulation.kernel.runner import suspend_gc


FORBIDDEN_CALLS = frozenset(
    getattr(module, name)
    for module, names in {
        time: (
            "monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns sleep "
            "time time_ns"
        ),
        _thread: "start_new_thread start_joinable_thread",
        os: "urandom getrandom",
    }.items()
    for name in names.split()
    if hasattr(module, name)
)


@contextmanager
def watch_forbidden_calls() -> Iterator[list[str]]:
    """Collect the forbidden calls of this thread: the function, and the line that called it.

    Nothing watches the garbage collector meanwhile: programs that are no part of a run read clocks when it
    runs, also where the run itself asks for it.
    """
    found: list[str] = []

    def inspect_call(frame: FrameType, event: str, function: Any) -> None:
        if (
            event == "c_call"
            and _is_forbidden(function)
            and frame.f_code.co_filename != logging.__file__  # nothing decides by a record's time
        ):
            found.append(f"{function.__name__} in {frame.f_code.co_filename}:{frame.f_lineno}")

    former, watchers = sys.getprofile(), gc.callbacks[:]
    with suspend_gc():
        gc.callbacks.clear()
        sys.setprofile(inspect_call)
        try:
            yield found
        finally:
            sys.setprofile(former)
            gc.callbacks[:] = watchers


def _is_forbidden(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    is_global_random = owner is getattr(random, "_inst")  # noqa: B009  # of no type stub
    return is_global_random or function in FORBIDDEN_CALLS
