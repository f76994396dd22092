"""A string that does not show itself: for what providers, Redis and keys are opened with."""


class Secret:
    """Holds a string and prints as stars; `reveal()` it only where it is used.

    Not a subclass of `str`: that would print, join and encode by accident. `msgspec` reads one
    through a `dec_hook` that calls `Secret(value)`, and without a hook refuses to write one.

    >>> Secret("hunter2")
    Secret('**********')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise TypeError("a secret has to be a string that is not empty")
        self._value = value

    def reveal(self) -> str:
        """Return the string itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __str__(self) -> str:
        return "**********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))
