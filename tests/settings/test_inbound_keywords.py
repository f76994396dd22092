"""[inbound.keywords.LANG]: which words are in force, where they come from, and what `check` says of them."""

import re

import pytest

from otp_service.core.inbound import Keyword
from otp_service.core.keywords import DEFAULT_KEYWORDS
from otp_service.settings import find_errors, find_warnings, format_settings, load_source


FRENCH = '[inbound.keywords.fr]\nstop = ["ARRÊT"]\nstart = ["REPRENDRE"]\n'


def find_keywords(settings, *texts):
    """Return the keyword of each text."""
    table = settings.build_keyword_table()
    return [table.find(text) for text in texts]


def test_without_the_table_the_defaults_are_in_force(load_config):
    """All languages at once."""
    settings = load_config()

    assert DEFAULT_KEYWORDS == settings.effective_keywords
    expected = [Keyword.STOP, Keyword.STOP, Keyword.HELP]
    assert expected == find_keywords(settings, "stop", "arrêt", "aide")


def test_a_language_that_is_set_replaces_its_three_lists_and_no_other(load_config):
    """An empty table removes a language."""
    settings = load_config(extra=f"{FRENCH}[inbound.keywords.tr]\n")

    found = find_keywords(settings, "Arret", "reprendre", "aide", "info", "iptal", "stop", "baja")

    assert [Keyword.STOP, Keyword.START, None, Keyword.HELP, None, *2 * [Keyword.STOP]] == found
    assert [] == find_errors(settings)


def test_a_new_language_adds_its_words(load_config):
    """One for which there is no default, from the environment."""
    environ = {"OTP_INBOUND__KEYWORDS__EL__STOP": '["ΤΕΛΟΣ", "ΔΙΑΚΟΠΗ"]'}

    settings = load_config(environ=environ)

    found = find_keywords(settings, "τέλος", "Διακοπή!", "STOP")

    assert 3 * [Keyword.STOP] == found


def test_the_report_has_the_words_in_force_and_where_they_are_from(complete_config):
    """With the words of languages that no file names; without lists that have no words."""
    environ = {"OTP_INBOUND__KEYWORDS__IT__STOP": '["FERMA"]'}
    text = complete_config(extra=FRENCH)
    source, settings = load_source(text, environ, lambda _: "worthless", cores=2)

    shown = format_settings(settings, origins=source.list_origins())

    for line in (
        r"inbound\.keywords\.fr\.stop +ARRÊT",
        r"inbound\.keywords\.fr\.start +REPRENDRE",
        r"inbound\.keywords\.it\.stop +FERMA  \(from OTP_INBOUND__KEYWORDS__IT__STOP\)",
        r"inbound\.keywords\.nl\.stop +STOP, AFMELDEN  \(default\)",
    ):
        assert re.search(rf"(?m)^{line}$", shown), line
    assert "inbound.keywords.fr.help" not in shown
    assert "AIDE" not in shown


def test_every_error_of_the_words_is_listed_at_once(find_config_errors):
    """With the setting of each, not only the first."""
    table = '[inbound.keywords.fr]\nstop = ["", "HELP"]\nstart = ["stop"]\nhelp = ["!"]\n'

    found = find_config_errors(extra=table)

    assert ["fr.stop[0]", "fr.stop[1]", "fr.start[0]", "fr.help[0]"] == [
        issue.setting.removeprefix("inbound.keywords.") for issue in found
    ]


@pytest.mark.parametrize("missing", ["STOP", "START"])
def test_a_missing_stop_or_start_is_a_warning(load_config, now_ms, missing):
    """Carriers require the one, and only the other gives a person codes again."""
    names = [name for name in DEFAULT_KEYWORDS if name != "es"]
    kept = {"STOP": 'start = ["START"]', "START": 'stop = ["STOP"]'}[missing]
    tables = "".join(f"[inbound.keywords.{name}]\n" for name in names if name != "en")

    settings = load_config(extra=f"{tables}[inbound.keywords.en]\n{kept}\n")

    (found,) = (issue for issue in find_warnings(settings, now_ms) if "inbound" in issue.setting)
    assert f"no {missing}:" in found.remedy
