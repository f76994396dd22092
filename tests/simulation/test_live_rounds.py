"""Real processes keep what the simulation promises, and the auditor sees a service that does not."""

import re

import pytest

from tests.simulation.auditor import audit_history
from tests.simulation.auditor.index import HistoryIndex
from tests.simulation.history import AuditSettings, History
from tests.simulation.live import __main__ as command
from tests.simulation.live.live_round import STORES, RoundRequest, run_round
from tests.simulation.timeline import describe_violation


SECONDS, GUESSING_SECONDS = 5.0, 8.0
"""Each loop of faults strikes within four seconds; a person needs longer for more guesses than attempts."""

UNCOUNTED_ATTEMPTS = """
import msgspec
from otp_service.core.challenge import Challenge

charge_attempt = Challenge.charge_attempt

def charge_nothing(self, now):
    return msgspec.structs.replace(charge_attempt(self, now), attempts_left=self.attempts_left)

Challenge.charge_attempt = charge_nothing
"""
"""A service whose challenges always have an attempt left."""


@pytest.fixture
def request_round(tmp_path):
    def build(store, seed, **members):
        values = {"seconds": SECONDS, "crowd_interval_seconds": 1.0, "host_names": ("a",)} | members
        return RoundRequest(
            store=store, seed=seed, folder=tmp_path, report=lambda _: None, **values
        )

    return build


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("store", STORES)
async def test_a_round_on_real_processes_keeps_every_promise(store, request_round):
    history = await run_round(request_round(store, "suite.1"))

    assert [] == [describe_violation(one) for one in audit_history(history)]
    assert HistoryIndex(history).successes, "nobody has logged in"
    assert history.comparisons
    assert history.events
    assert history.faults
    assert {"log"} < {stored.place for stored in history.stored}


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_auditor_sees_a_service_that_counts_no_attempts(request_round):
    history = await run_round(
        request_round(
            "single",
            "suite.2",
            seconds=GUESSING_SECONDS,
            has_faults=False,
            sitecustomize=UNCOUNTED_ATTEMPTS,
        )
    )

    rules = {violation.rule for violation in audit_history(history)}
    assert {
        "an attempt was not counted",
        "a challenge was compared more often than it has attempts",
    } <= rules


def test_the_command_ends_with_1_and_a_timeline_if_a_promise_is_broken(
    monkeypatch, tmp_path, capsys
):
    async def run_broken_round(request):
        return History(
            seed=request.seed, settings=AuditSettings(tenants={}), unhandled_errors=("ValueError",)
        )

    monkeypatch.setattr(command, "run_round", run_broken_round)
    arguments = ["--minutes", "0", "--store", "single", "--seed", "7", "--output", str(tmp_path)]

    assert 1 == command.main(arguments)

    printed = capsys.readouterr().out
    assert "!! liveness: an exception was not handled [ValueError]" in printed
    (path,) = re.findall(r"the timeline is in (.*)", printed)
    assert "!! liveness" in (tmp_path / "live-single-7.0.txt").read_text()
    assert str(tmp_path / "live-single-7.0.txt") == path


def test_the_command_ends_with_0_if_every_promise_is_kept(monkeypatch, tmp_path, capsys):
    async def run_quiet_round(request):
        return History(seed=request.seed, settings=AuditSettings(tenants={}))

    monkeypatch.setattr(command, "run_round", run_quiet_round)

    assert 0 == command.main(["--minutes", "0", "--seed", "7", "--output", str(tmp_path)])
    assert "round 7.0 on single" in capsys.readouterr().out
