"""What makes collecting the tests cheaper where several processes do it."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest


TESTS = Path(__file__).parent


def import_share_first(config: pytest.Config) -> None:
    """Import the test modules in an order that differs from that of the other processes of pytest-xdist.

    On a fresh checkout each process would rewrite the assertions of all modules, at the same time as
    the others: half of the CPU time of a collection. So each of them begins with a share of its own,
    and finds what the others have stored when it comes to theirs.
    """
    worker = getattr(config, "workerinput", None)
    if not worker or [Path(each).resolve() for each in config.args] != [TESTS]:
        return
    modules = list(_list_modules(config.getoption("ignore") or []))
    begin = len(modules) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for module in modules[begin:] + modules[:begin]:
        # The collection imports it again, and reports the error.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(module)


def _list_modules(ignored: list[str]) -> Iterator[str]:
    left_out = [Path(each).resolve() for each in ignored]
    for path in sorted(TESTS.rglob("test_*.py")):
        if not any(path.is_relative_to(each) for each in left_out):
            yield ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
