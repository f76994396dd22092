"""What ends a command with one sentence instead of a traceback."""


class CommandError(Exception):
    """Its text says what is wrong and what to do."""
