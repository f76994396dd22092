"""The auditor finds every bug that is planted, in the seed that has first shown it."""

import pytest

from tests.simulation.planted import PLANTED_BUGS
from tests.simulation.planted.findings import PAGE, find_table, format_table, load_findings
from tests.simulation.planted.hunt import MAX_SEEDS, list_broken_rules
from tests.simulation.planted.planted_bug import replace_part
from tests.simulation.search.verdict import judge_seed


FINDINGS = load_findings()
HINT = "after a change of draws: python -m tests.simulation.planted --write"


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda one: one.bug.replace(" ", "-"))
def test_a_planted_bug_is_found_and_the_service_passes_the_same_seed_without_it(finding):
    assert finding.rule in list_broken_rules(PLANTED_BUGS[finding.bug], finding.seed), HINT
    assert frozenset() == judge_seed(finding.seed).rules


def test_each_planted_bug_has_a_finding_within_ten_thousand_seeds():
    assert [*PLANTED_BUGS] == [finding.bug for finding in FINDINGS]
    assert len(PLANTED_BUGS) >= 12
    assert all(finding.seed < MAX_SEEDS for finding in FINDINGS)


def test_the_page_has_the_table_of_the_findings():
    assert format_table(FINDINGS) == find_table(PAGE.read_text())


class Part:
    def measure_length(self):
        return 1


class DerivedPart(Part):
    pass


def test_a_planted_bug_replaces_a_part_for_its_run_alone():
    def build(original):
        return lambda self: original(self) + 1

    with replace_part(Part, "measure_length", build):
        assert 2 == Part().measure_length()

    assert 1 == Part().measure_length()


def test_a_bug_cannot_be_planted_where_nothing_is_left_to_replace():
    """Else it would change nothing that runs, and the auditor would seem to miss it."""
    with (
        pytest.raises(AttributeError, match="DerivedPart has no measure_length any more"),
        replace_part(DerivedPart, "measure_length", lambda original: original),
    ):
        pass


@pytest.mark.parametrize("bug", PLANTED_BUGS.values(), ids=lambda one: one.name.replace(" ", "-"))
def test_each_planted_bug_finds_the_part_that_it_replaces(bug):
    with bug.plant():
        pass
