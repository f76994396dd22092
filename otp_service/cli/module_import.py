"""Imports the modules of a command or a worker: most of the CPU time of its start."""

import gc
import importlib
import sys
from types import ModuleType


def import_permanently(name: str) -> ModuleType:
    """Return a module; the garbage collector never looks at what its import creates.

    All of that stays until the process ends. To look through it, again and again while it grows and
    once more at the end of the process, took a third of the CPU time of a process that starts and stops.
    """
    if name not in sys.modules:
        gc.disable()
        try:
            importlib.import_module(name)
            gc.freeze()
        finally:
            gc.enable()
    return sys.modules[name]
