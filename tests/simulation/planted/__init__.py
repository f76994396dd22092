"""Bugs that are planted into the service for a run, so that the auditor shows that it finds them."""

from typing import Final

from tests.simulation.planted import (
    archive_bugs,
    attempt_bugs,
    charge_bugs,
    commit_bugs,
    send_bugs,
)
from tests.simulation.planted.planted_bug import PlantedBug


__all__ = ["PLANTED_BUGS", "PlantedBug"]

PLANTED_BUGS: Final[dict[str, PlantedBug]] = {
    bug.name: bug
    for bug in (
        *attempt_bugs.BUGS,
        *charge_bugs.BUGS,
        *commit_bugs.BUGS,
        *send_bugs.BUGS,
        *archive_bugs.BUGS,
    )
}
"""By name, in the order of their table in docs/simulation.md."""
