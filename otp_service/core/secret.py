"""A string that is redacted when printed: credentials of providers and Redis, and keys."""


class Secret:
    """Holds a string and prints as stars; call `reveal()` only where the string is used.

    It is not a subclass of `str`, which would print, join and encode by accident. `msgspec` decodes
    it through a `dec_hook` that calls `Secret(value)`, and refuses to encode it without a hook.

    >>> Secret("hunter2")
    Secret('**********')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise TypeError("a secret must be a nonempty string")
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __str__(self) -> str:
        return "**********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))
