"""Seeds that have found something, with what it was."""

import tomllib
from pathlib import Path
from typing import Final, Literal

import msgspec

from tests.simulation.prefix import MAX_CALLS, Prefix


FILE: Final = Path(__file__).with_name("seeds.toml")


class CommittedSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding, as seeds.toml explains its members."""

    seed: int
    place: Literal["service", "model", "world", "auditor"]
    story: str
    calls: int = MAX_CALLS
    faults: tuple[int, ...] | None = None

    @property
    def prefix(self) -> Prefix:
        """The part of the run that has shown it."""
        return Prefix(self.calls, self.faults)


def load_seeds() -> list[CommittedSeed]:
    """Return all of them, in the order of the file."""
    return msgspec.convert(tomllib.loads(FILE.read_text())["seed"], list[CommittedSeed])
