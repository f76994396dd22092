"""Structs that show in their repr only what may be in a log."""

from typing import Any, ClassVar

import msgspec


class RedactedStruct(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen struct whose repr has the members of `shown`, and no others.

    Whatever prints a value prints its repr: logging, a debugger, a traceback with its locals. A new
    member is hidden until it is listed.
    """

    shown: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        members = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({members})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what `rich` prints, which is every member of a struct otherwise."""
        return [(name, getattr(self, name)) for name in self.shown]
