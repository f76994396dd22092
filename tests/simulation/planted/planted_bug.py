"""A bug that can be planted, and how a part of the service is replaced for the time of a run."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec

from tests.simulation.auditor.violation import Promise


class PlantedBug(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake that somebody could make in the service."""

    name: str
    what: str
    """What the service does then, as a row of the table says it."""
    promises: frozenset[Promise]
    """Those that the bug breaks: a violation of another one does not count as found."""
    plant: Callable[[], AbstractContextManager[None]]
    """Returns a context manager in whose body the service has the bug."""


@contextmanager
def replace_part(owner: Any, name: str, build: Callable[[Any], Any]) -> Iterator[None]:
    """Replace what a class or a module itself defines by what `build` makes of it.

    Raises AttributeError if it no longer does: the bug would be in nothing that runs.
    """
    if name not in vars(owner):
        raise AttributeError(f"{owner.__name__} has no {name} any more, so that nothing is planted")
    original = vars(owner)[name]
    setattr(owner, name, build(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
