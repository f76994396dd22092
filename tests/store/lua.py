"""Lua scripts with a function replaced, for tests that need another clock or a broken script."""

import re


def replace_function(source: str, name: str, body: str) -> str:
    """Return the script with another body for its top-level function `name`.

    Raises AssertionError unless there is exactly one such function.
    """
    pattern = rf"^local function {name}\((.*?)\)\n.*?^end$"
    changed, count = re.subn(
        pattern,
        rf"local function {name}(\1)\n  {body}\nend",
        source,
        flags=re.MULTILINE | re.DOTALL,
    )
    assert count == 1, f"{name}: {count} functions"
    return changed
