"""Keywords: whole messages from phones that have an effect, in every language of the settings.

A message is compared as vendors do it: all of it, without regard to case, accents, outer punctuation and
invisible characters. "Stop it!" is therefore no keyword, although it may revoke consent in the USA, which is
for an operator to decide. The language of a message is unknown, so all languages apply to every
message, and a word has one meaning in all of them.

    table = KeywordTable(DEFAULT_KEYWORDS)
    table.find("«Arrêt !»")    Keyword.STOP
    table.find("stop it")      None
"""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from otp_service.core.inbound import Keyword
from otp_service.core.visible_text import is_invisible


MAX_KEYWORD_CHARS: Final = 100
"""A longer message is not normalized: no keyword is so long."""


class KeywordWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[inbound.keywords.LANG]: the messages of one language that have an effect."""

    stop: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    help: tuple[str, ...] = ()

    def list_words(self) -> Iterator[tuple[Keyword, int, str]]:
        """Yield each word with its keyword and its place in that list, from 0."""
        for keyword in Keyword:
            words: tuple[str, ...] = getattr(self, keyword)
            yield from ((keyword, index, word) for index, word in enumerate(words))


DEFAULT_KEYWORDS: Final[Mapping[str, KeywordWords]] = {
    # Normative. STOP, QUIT, END, REVOKE, OPT OUT, CANCEL and UNSUBSCRIBE: 47 CFR 64.1200(a)(10), in force
    # since April 2025. The other spellings, HELP, INFO, START, UNSTOP and YES: carriers of the USA and
    # Canada (CTIA), as Twilio, Telnyx and Sinch list them.
    "en": KeywordWords(
        stop=(
            *("STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE"),
            *("OPTOUT", "OPT-OUT", "OPT OUT"),
        ),
        start=("START", "UNSTOP", "YES"),
        help=("HELP", "INFO"),
    ),
    # Normative: ARRET, AIDE and INFO (CWTA short code guidelines 3.9: both languages of Canada, whatever
    # the language of the messages). Suggestions: ARRETE and ARRETT, which Twilio accepts too.
    "fr": KeywordWords(stop=("STOP", "ARRÊT", "ARRETE", "ARRETT"), help=("AIDE", "INFO")),
    # All others are suggestions: no normative list was found. NO MÁS is in comments on the US rule.
    "de": KeywordWords(stop=("STOP", "STOPP", "ABMELDEN")),
    "es": KeywordWords(stop=("ALTO", "BAJA", "CANCELAR", "PARAR", "NO MÁS")),
    "it": KeywordWords(stop=("STOP", "ANNULLA")),
    "nl": KeywordWords(stop=("STOP", "AFMELDEN")),
    "pl": KeywordWords(stop=("STOP",)),
    "pt": KeywordWords(stop=("SAIR", "PARAR", "CANCELAR")),
    "tr": KeywordWords(stop=("İPTAL", "RET")),
}
"""By language. One that is set in the settings replaces all three lists of that language."""


class KeywordTable:
    """The keyword of each word, in all languages together."""

    def __init__(self, languages: Mapping[str, KeywordWords]) -> None:
        """`languages` are without errors: see `find_keyword_errors`."""
        self._keywords = {
            normalize_message(word): keyword
            for words in languages.values()
            for keyword, _, word in words.list_words()
        }

    def find(self, text: str) -> Keyword | None:
        """Return the keyword that a message consists of; None for any other message."""
        if len(text) > MAX_KEYWORD_CHARS:
            return None
        return self._keywords.get(normalize_message(text))


def normalize_message(text: str) -> str:
    """Return the text as keywords are compared: folded, without accents and outer punctuation.

    Empty if nothing is left. Its cost grows with the text: `find` bounds it.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = folded.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i")  # a Turkish phone's i of IPTAL
    decomposed = unicodedata.normalize("NFKD", folded)
    visible = "".join(_simplify_character(char) for char in decomposed if _is_kept(char))
    words = " ".join(visible.split())
    start, end = 0, len(words)
    while start < end and _is_outer(words[start]):
        start += 1
    while start < end and _is_outer(words[end - 1]):
        end -= 1
    return words[start:end]


def _is_kept(char: str) -> bool:
    """Whether a character is neither an accent, nor around others like a keycap, nor invisible."""
    is_mark = unicodedata.category(char) in {"Mn", "Me"}
    return char.isspace() or not (is_mark or is_invisible(char))


def _simplify_character(char: str) -> str:
    """Return a space for any white space, and a hyphen for any dash: phones replace them as one types."""
    return " " if char.isspace() else "-" if unicodedata.category(char) == "Pd" else char


def _is_outer(char: str) -> bool:
    """Whether a character is ignored at both ends: punctuation, a symbol such as emoji, or a space."""
    return unicodedata.category(char)[0] in "PSZ"


def find_keyword_errors(languages: Mapping[str, KeywordWords]) -> Iterator[tuple[str, str]]:
    """Yield (field, remedy) for each word that cannot be a keyword, or is two of them."""
    places: dict[str, tuple[Keyword, str]] = {}
    for language, words in languages.items():
        for keyword, index, word in words.list_words():
            field, normalized = f"{language}.{keyword}[{index}]", normalize_message(word)
            other, place = places.setdefault(normalized, (keyword, f"{language}.{keyword}"))
            if len(word) > MAX_KEYWORD_CHARS:
                yield (
                    field,
                    f"must be at most {MAX_KEYWORD_CHARS} characters: no longer message is one",
                )
            elif not normalized:
                yield field, "must have a letter or a digit: nothing else is compared"
            elif other is not keyword:
                yield field, f"is also a word of {place}: no message can have both meanings"


def find_keyword_warnings(languages: Mapping[str, KeywordWords]) -> Iterator[str]:
    """Yield what people expect of every sender and these words do not have."""
    table = KeywordTable(languages)
    if table.find("STOP") is not Keyword.STOP:
        yield "have no STOP: carriers, and the law of the USA, require that it ends the messages"
    if table.find("START") is not Keyword.START:
        yield "have no START: a person who has sent STOP cannot receive a code again without an operator"
