"""Language tags (BCP 47) of readers, and which translation each of them reads.

Phones, browsers and old libraries name one language in several ways: by a code that was replaced (`iw`,
`mo`), by three letters (`deu`, `ger`), by a variety of a macrolanguage (`cmn`, `arz`), or by both (`zh-yue`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from otp_service.core.errors import InvalidRequest


LOCALE_RULE: Final = "must be a language tag (BCP 47) like en or en-GB, with hyphens"

_MAX_LOCALE_CHARS: Final = 35  # RFC 5646, 4.4.1

# Language, extended languages, script, region. What may follow (variants, extensions) changes no
# sentence.
_LOCALE_PATTERN: Final = re.compile(
    r"([a-z]{2,3})((?:-[a-z]{3}){0,3})(?:-([a-z]{4}))?(?:-([a-z]{2}|[0-9]{3}))?(?:-[a-z0-9]{1,8})*",
    re.ASCII | re.IGNORECASE,
)
# Private use, and the tags of RFC 1766 that begin with i.
_IRREGULAR_PATTERN: Final = re.compile(r"[ix](?:-[a-z0-9]{1,8})+", re.ASCII | re.IGNORECASE)

_WHOLE_TAG_ALIASES: Final[Mapping[str, str]] = {
    "i-hak": "hak",
    "no-bok": "nb",
    "no-nyn": "nn",
    "zh-guoyu": "cmn",
    "zh-hakka": "hak",
    "zh-min": "nan",
    "zh-min-nan": "nan",
    "zh-xiang": "hsn",
}
"""Tags of RFC 1766 and 3066, and what the IANA registry prefers to them."""

_CODES_BY_LANGUAGE: Final[Mapping[str, str]] = {
    # ISO 639-2, in both of its forms, and 639-3; the individual languages of a macrolanguage whose
    # readers read its standard; and the codes that BCP 47 replaced.
    "ar": (
        "ara aao abh abv acm acq acw acx acy adf aeb aec afb ajp apc apd arb arq ars ary arz auz avl"
        " ayh ayl ayn ayp pga shu ssh"
    ),
    "bg": "bul",
    "cs": "ces cze",
    "da": "dan",
    "de": "deu ger",
    "el": "ell gre",
    "en": "eng",
    "es": "spa",
    "et": "est ekk",
    "fa": "fas per pes prs drw tnf",
    "fi": "fin",
    "fr": "fra fre",
    "he": "heb iw",
    "hi": "hin",
    "hr": "hrv scr sh hbs",  # of the macrolanguage `sh`, Croatian is what is translated
    "hu": "hun",
    "id": "ind in",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "lt": "lit",
    "ms": "msa may zsm",
    "nb": "nob nn nno no nor",  # Nynorsk too
    "nl": "nld dut",
    "pl": "pol",
    "pt": "por",
    "ro": "ron rum mo mol",
    "ru": "rus",
    "sk": "slk slo",
    "sl": "slv",
    "sv": "swe",
    "th": "tha",
    "tr": "tur",
    "uk": "ukr",
    "vi": "vie",
    "zh": "zho chi cmn cdo cjy cnp cpx csp czh czo gan hak hsn lzh mnp nan wuu",
}
LANGUAGE_ALIASES: Final[Mapping[str, str]] = {
    code: language for language, codes in _CODES_BY_LANGUAGE.items() for code in codes.split()
}

_TRADITIONAL_REGIONS: Final = "AU BN GB GF HK ID MO PA PF PH SR TH TW US VN"
"""Where Chinese is written in traditional characters, if the tag names no script (CLDR, likelySubtags)."""

LOCALE_ALIASES: Final[Mapping[str, str]] = {
    **{f"zh-{region}": "zh-Hant" for region in _TRADITIONAL_REGIONS.split()},
    "zh-Bopo": "zh-Hant",
    "zh-Hanb": "zh-Hant",
    "yue": "zh-Hant",
    "yue-CN": "zh",
    "yue-Hans": "zh",
}
"""Tags whose readers read a translation that is not named by a shorter form of the tag."""


_EXTENDED_LANGUAGES: Final = frozenset({"yue", *LANGUAGE_ALIASES})


def parse_locale(text: str) -> str:
    """Return a BCP 47 tag as `zh-Hant-TW`, without what may follow its region.

    An extended language takes the place of its language (RFC 5646 §4.5): `zh-yue-HK` is `yue-HK`.
    Raises InvalidRequest for a malformed tag; a language without messages is accepted.
    """
    text = _WHOLE_TAG_ALIASES.get(text.lower(), text)
    if len(text) <= _MAX_LOCALE_CHARS:
        if match := _LOCALE_PATTERN.fullmatch(text):
            return _format_tag(*match.groups(default=""))
        if _IRREGULAR_PATTERN.fullmatch(text):
            return text.lower()
    raise InvalidRequest(("locale", LOCALE_RULE))


def _format_tag(language: str, extended: str, script: str, region: str) -> str:
    # A country of three letters (en-GBR) is not a tag, and looks like an extended language.
    known = [code for code in extended.lower().split("-") if code in _EXTENDED_LANGUAGES]
    tag = (known[-1] if known else language.lower(), script.title(), region.upper())
    return "-".join(part for part in tag if part)


def list_translation_tags(locale: str) -> Iterator[str]:
    """Yield the tags of translations for the reader of a locale, the best one first.

    `locale` is what `parse_locale` returned. It is shortened from its end (RFC 4647 §3.4).
    """
    language, *rest = locale.split("-")
    parts = [LANGUAGE_ALIASES.get(language, language), *rest]
    for count in range(len(parts), 0, -1):
        tag = "-".join(parts[:count])
        yield LOCALE_ALIASES.get(tag, tag)
