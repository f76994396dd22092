"""Values in a JSON document by a path of names, and of places in lists from 0: `messages.0.status`."""

from typing import Any


def find_json_value(path: str, document: Any) -> Any:
    """Return the value at this path; None if it is missing or null."""
    for step in path.split("."):
        if isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document
