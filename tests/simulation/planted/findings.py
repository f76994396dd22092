"""The seed that finds each planted bug: in a file that the suite replays, and as a table of the docs."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.simulation.planted import PLANTED_BUGS


FILE: Final = Path(__file__).with_name("findings.toml")
PAGE: Final = Path(__file__).parents[3] / "docs" / "simulation.md"

HEADING: Final = (
    "| bug | what the service does then | broken promise | seeds |\n|---|---|---|---|\n"
)
FILE_COMMENT: Final = (
    "# The first seed, from 0, in which the auditor finds each planted bug, and the rule that is broken.\n"
    "# Written by `python -m tests.simulation.planted --write`.\n"
)


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first seed, from 0, that shows a planted bug."""

    bug: str
    seed: int
    rule: str
    """The first rule of a promise of the bug that is broken, as `name_rule` returns it."""

    @property
    def seed_count(self) -> int:
        """How many seeds it took."""
        return self.seed + 1


def load_findings() -> list[Finding]:
    """Return all of them, in the order of the file."""
    findings = tomllib.loads(FILE.read_text())["finding"]
    return msgspec.convert(findings, list[Finding])


def write_findings(findings: Sequence[Finding]) -> None:
    """Replace those of the same bugs in the file and in the page; the others stay."""
    known = {finding.bug: finding for finding in load_findings()} if FILE.exists() else {}
    known |= {finding.bug: finding for finding in findings}
    in_order = [known[name] for name in PLANTED_BUGS if name in known]
    FILE.write_text(FILE_COMMENT + "".join(map(_format_finding, in_order)))
    page = PAGE.read_text()
    PAGE.write_text(page.replace(find_table(page), format_table(in_order)))


def find_table(page: str) -> str:
    """Return the table that a page has. Raises ValueError if it has none."""
    start = page.index(HEADING)
    return page[start : page.index("\n\n", start) + 1]


def format_table(findings: Sequence[Finding]) -> str:
    """Return the findings as the table of docs/simulation.md."""
    rows = (
        f"| {one.bug} | {PLANTED_BUGS[one.bug].what} | {one.rule} | {one.seed_count:,} |\n"
        for one in findings
    )
    return HEADING + "".join(rows)


def _format_finding(finding: Finding) -> str:
    return f'\n[[finding]]\nbug = "{finding.bug}"\nseed = {finding.seed}\nrule = "{finding.rule}"\n'
