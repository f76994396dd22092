"""The commit script's request, packed: the fields and their order are lua/commit.lua's."""

from collections.abc import Sequence
from importlib.resources import files

import msgspec

from otp_service.core import limits
from otp_service.core.limits import Window


COMMIT = (files("otp_service.store") / "lua/commit.lua").read_text()
FETCH = (files("otp_service.store") / "lua/fetch.lua").read_text()
LEASE, MARK, TAIL = (
    (files("otp_service.store") / f"lua/{name}.lua").read_text()
    for name in ("lease", "mark", "tail")
)

FIXED = 6
"""How many of KEYS every commit has: the operation and the five keys of the log."""

ROW = (
    limits.ROW_PATIENCE,
    limits.ROW_FIRST_DELAY,
    limits.ROW_LAST_DELAY,
    limits.ROW_MEMORY,
)


DELETE = 0
"""In the place of a value."""


class Places:
    """What a request names: its place is its index in KEYS or ARGV, from 1."""

    def __init__(self, fixed: Sequence[str]) -> None:
        self.names = list(fixed)
        self.values: list[bytes] = []

    def of(self, name: str) -> int:
        """Return the place of a key, adding it if it is new."""
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name) + 1

    def value(self, value: bytes) -> int:
        """Return the place of a value; the request itself has the first."""
        self.values.append(value)
        return len(self.values) + 1


class Spend(msgspec.Struct, frozen=True, array_like=True):
    """A charge or a give-back."""

    kind: str
    place: int
    windows: tuple[Window, ...]
    cost: int
    operation: str
    force: bool
    name: str
    label: str
    base: int


class Request(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What lua/commit.lua unpacks."""

    shift: int
    expected: list[tuple[int, str]] = []
    """Place, and the version that the record there has to begin with (empty: none is there)."""
    before: int = 0
    returned: list[int] = []
    writes: list[tuple[int, int, int]] = []
    """Place, place of the value, and the instant until which it lives (0: for ever)."""
    guards: list[int] = []
    charges: list[Spend] = []
    give_backs: list[Spend] = []
    clear: list[int] = []
    events: list[tuple[str, str]] = []
    refusal: tuple[str, str, str, str] | None = None
    """Event, MAC, the name under which it folds, client address."""
    denial: tuple[str, str, str, str] | None = None
    sweep: int = 2
    """How many folds that are due to flush on the way."""
    epoch_event: tuple[str, str]
    log_limits: tuple[int, int, bool]
    """Retention in milliseconds, the most entries of a stream, and whether they are archived."""
    row: tuple[int, ...] = ROW
    grants: bool = False
    """Whether it is refused while the log has no room."""


pack = msgspec.msgpack.Encoder().encode
