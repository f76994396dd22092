"""A search judges every seed once, shows each failure, and goes on where it stopped."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulation import __main__ as command
from tests.simulation.auditor.violation import Promise, Violation
from tests.simulation.history import AuditSettings, CallRecord, History
from tests.simulation.prefix import WHOLE, Prefix
from tests.simulation.run import run_seed
from tests.simulation.search import search as search_module
from tests.simulation.search.progress import Progress, ProgressFile
from tests.simulation.search.search import Search, SearchRequest
from tests.simulation.search.seed_range import Chunk
from tests.simulation.search.shrinker import shrink_seed
from tests.simulation.search.verdict import Verdict


RULE = "success: a code was accepted twice"


def build_verdict(seed, prefix, rules=(), calls=10):
    """Return the verdict of a run whose actors make up to so many calls."""
    records = [
        CallRecord(
            number=number,
            actor="log in 1",
            tenant="shop",
            worker="a1",
            kind="get",
            arguments={},
            request=f"call-{number}",
            started_at=number,
        )
        for number in range(min(calls, prefix.calls))
    ]
    history = History(
        seed=str(seed), settings=AuditSettings(tenants={}), calls=tuple(records), calm_since=calls
    )
    violations = [Violation(promise=Promise.SUCCESS, rule=rule, at=0) for rule in rules]
    return Verdict(seed, prefix, history, violations)


def create_judge(is_broken):
    """Return a judge that finds the rule broken in some prefixes, and lists those that it was asked."""
    asked = []

    def judge(seed, prefix=WHOLE):
        asked.append(prefix)
        rules = ["a code was accepted twice"] if is_broken(prefix) else ["another one"]
        return build_verdict(seed, prefix, rules)

    return judge, asked


def test_a_seed_shrinks_to_the_fewest_calls_and_the_faults_that_it_needs():
    judge, _ = create_judge(
        lambda prefix: prefix.calls >= 4 and prefix.has_fault(1) and prefix.has_fault(3)
    )

    assert Prefix(4, (1, 3)) == shrink_seed(7, RULE, judge).prefix


def test_a_seed_that_fails_without_a_fault_shrinks_to_none():
    judge, _ = create_judge(lambda prefix: prefix.calls >= 2)

    assert Prefix(2, ()) == shrink_seed(7, RULE, judge).prefix


def test_a_shorter_prefix_counts_although_longer_ones_pass():
    judge, _ = create_judge(lambda prefix: prefix.calls in {3, 9, 100})

    assert 3 == shrink_seed(7, RULE, judge).prefix.calls


def test_a_fault_that_only_longer_runs_need_is_dropped_at_last():
    judge, _ = create_judge(
        lambda prefix: prefix.calls == 1 or (prefix.calls and prefix.has_fault(2))
    )

    assert Prefix(1, ()) == shrink_seed(7, RULE, judge).prefix


def test_shrinking_runs_a_prefix_for_each_call_at_most_and_twice_for_each_fault():
    judge, asked = create_judge(lambda prefix: prefix.calls >= 10)

    shrink_seed(7, RULE, judge)

    assert len(asked) < 1 + 10 + 2 * 6


def test_a_seed_that_breaks_another_rule_does_not_shrink():
    judge, _ = create_judge(lambda _: False)

    with pytest.raises(ValueError, match="seed 7 does not break the rule"):
        shrink_seed(7, RULE, judge)


def test_a_prefix_is_the_run_up_to_its_last_call():
    """The calls of persons who log in at the end follow, at other instants."""

    def list_starts(prefix):
        history = run_seed(9, prefix)
        return [(c.actor, c.kind, c.arguments, c.started_at) for c in history.calls]

    whole = list_starts(WHOLE)

    assert len(whole) > 4
    for calls in (1, 2, 3):
        assert whole[:calls] == list_starts(Prefix(calls))[:calls]


def test_the_options_of_a_prefix_play_it_again():
    parse = command.build_parser().parse_args
    for prefix in (WHOLE, Prefix(3), Prefix(3, ()), Prefix(0, (0, 2))):
        options = parse(["--seed", "7", *prefix.format_options().split()])
        assert prefix == Prefix(options.calls, options.faults)


class FakePool:
    """Judges seeds by a rule, and shrinks to a text."""

    failing: frozenset[int] = frozenset()

    def __init__(self, processes):
        self.processes = processes

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def judge_range(self, first, end, is_due):
        for start in range(first, end, 10):
            if is_due():
                return
            seeds = range(start, min(start + 10, end))
            yield Chunk(start, seeds.stop, {s: [RULE] for s in seeds if s in self.failing})

    def shrink(self, seed, rule):
        return f"timeline of {seed} for {rule}"


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(search_module, "SeedPool", FakePool)
    monkeypatch.setattr(FakePool, "failing", frozenset())
    return FakePool


def run_search(folder, **changes):
    """Return whether all seeds passed, and what was printed."""
    lines = []
    request = SearchRequest(**{"first": 0, "end": 35, "processes": 2, "folder": folder, **changes})
    return Search(request, lines.append).run(), lines


@pytest.mark.usefixtures("pool")
def test_a_search_reports_how_many_seeds_it_has_judged(tmp_path):
    has_passed, lines = run_search(tmp_path)

    assert has_passed
    assert lines[-1].startswith("seeds 0 to 34: 35 of 35, 0 failed, ")


def test_a_search_shows_the_first_seed_of_a_rule_as_a_timeline(pool, tmp_path):
    pool.failing = {12, 13}

    has_passed, lines = run_search(tmp_path)

    assert not has_passed
    failure = f"seed 12 FAILED: {RULE}", f"timeline of 12 for {RULE}", f"seed 13 FAILED: {RULE}"
    assert failure == tuple(lines[:3])


def test_a_search_goes_on_where_it_stopped_and_knows_what_failed_before(pool, tmp_path):
    pool.failing = {12}
    run_search(tmp_path, end=20)
    pool.failing = set()

    has_passed, lines = run_search(tmp_path, end=30)

    assert not has_passed
    assert ["goes on with seed 20, after 20 seeds", f"seed 12 failed before: {RULE}"] == lines[:2]
    assert Progress(0, 30, {12: [RULE]}) == ProgressFile(tmp_path, 0).read()


@pytest.mark.usefixtures("pool")
def test_a_search_from_another_seed_has_a_progress_of_its_own(tmp_path):
    run_search(tmp_path)
    run_search(tmp_path, first=1_000, end=1_035)

    assert (35, 1_035) == tuple(ProgressFile(tmp_path, first).read().next for first in (0, 1_000))


@pytest.mark.usefixtures("pool")
def test_a_search_without_a_folder_starts_again(tmp_path):
    run_search(tmp_path)

    assert "goes on" not in "".join(run_search(None)[1])


@pytest.mark.usefixtures("pool")
def test_a_search_stops_after_its_minutes(tmp_path):
    run_search(tmp_path, minutes=0.0)

    assert 0 == ProgressFile(tmp_path, 0).read().next


@pytest.mark.parametrize(("rules", "status"), [((), 0), (("a code was accepted twice",), 1)])
def test_a_replay_prints_the_timeline_and_fails_with_the_run(monkeypatch, capsys, rules, status):
    monkeypatch.setattr(
        command, "judge_seed", lambda seed, prefix: build_verdict(seed, prefix, rules)
    )

    assert status == command.main(["--seed", "7", "--calls", "3"])
    first_line, *timeline = capsys.readouterr().out.splitlines()
    assert "python -m tests.simulation --seed 7 --calls 3" == first_line
    assert timeline[0].startswith("seed 7: calls 3")


@pytest.mark.slow
def test_the_command_judges_seeds_in_processes_of_their_own(tmp_path):
    arguments = ["--seeds", "6", "--processes", "2", "--state", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=Path(__file__).parents[2],
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "seeds 0 to 5: 6 of 6, 0 failed" in done.stdout
    assert Progress(0, 6) == ProgressFile(tmp_path, 0).read()


@pytest.mark.slow
def test_a_search_that_is_killed_leaves_no_process(tmp_path):
    """Its processes have its output, which ends with the last of them."""
    arguments = ["--seeds", "1000000", "--processes", "2", "--state", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not [*tmp_path.glob("*.json")] and time.monotonic() < deadline:
        time.sleep(0.1)

    process.kill()

    process.communicate(timeout=30)
    assert 0 < ProgressFile(tmp_path, 0).read().count
