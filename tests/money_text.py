"""Amounts of money in texts for people: each has its currency."""

import re


AMOUNT = re.compile(r"(?<![\d.:+])\d[\d,]*\.\d{2,}(?: of \d[\d,]*\.\d{2,})?")
"""With two digits after the point, so no number of messages; neither an instant nor an address."""


def list_bare_amounts(text: str, currency: str) -> list[str]:
    """Return the amounts that are not followed by the currency; seconds and addresses are none."""
    return [
        amount[0]
        for amount in AMOUNT.finditer(text)
        if not text[amount.end() :].startswith((f" {currency}", " s", "."))
    ]
