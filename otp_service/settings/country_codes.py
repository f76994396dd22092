"""Countries in settings: ISO 3166 codes of two letters, and what was meant by others."""

from collections.abc import Iterable
from typing import Final

from phonenumbers import SUPPORTED_REGIONS


_MEANT_COUNTRIES: Final = {
    "UK": "GB",
    "EL": "GR",  # of the European Union
    "BU": "MM",
    "DD": "DE",
    "FX": "FR",
    "TP": "TL",
    "YD": "YE",
    "ZR": "CD",  # replaced (CLDR)
}


def is_country(text: str) -> bool:
    """Whether the text is the code of a country with telephone numbers."""
    return text in SUPPORTED_REGIONS


def describe_unknown_countries(texts: Iterable[str]) -> str:
    """Return the texts that are no codes, each with the code that is meant."""
    unknown = sorted(text for text in texts if not is_country(text))
    return ", ".join(map(_describe_country, unknown))


def _describe_country(text: str) -> str:
    upper = text.upper()
    meant = _MEANT_COUNTRIES.get(upper, upper)
    return f"{text} (write {meant})" if is_country(meant) else text
