"""How far a search has come, in a file, so that it goes on where it stopped."""

from pathlib import Path
from typing import Final

import msgspec


FOLDER: Final = Path(".simulation")


class Progress(msgspec.Struct):
    """The seeds of one search that were judged: those from `first` until `next`, which is not one."""

    first: int
    next: int
    failures: dict[int, list[str]] = {}
    """By the seed that has failed: the rules that it breaks."""

    @property
    def count(self) -> int:
        """The number of seeds that were judged."""
        return self.next - self.first


class ProgressFile:
    """The file of the search that begins with a seed."""

    def __init__(self, folder: Path, first: int) -> None:
        self.path = folder / f"from-{first}.json"
        self._first = first

    def read(self) -> Progress:
        """Return what an earlier search has reached, or a beginning."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Progress)
        except FileNotFoundError:
            return Progress(self._first, self._first)

    def write(self, progress: Progress) -> None:
        """Replace the file as a whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replacement = self.path.with_suffix(".new")
        replacement.write_bytes(msgspec.json.format(msgspec.json.encode(progress)))
        replacement.replace(self.path)
