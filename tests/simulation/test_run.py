"""A run follows from its seed alone, and ends with everybody answered."""

import hashlib
import os
import subprocess
import sys

import msgspec
import pytest

from tests.simulation.actors.probes import PROBE_NAMES
from tests.simulation.history import Failed
from tests.simulation.prefix import Prefix
from tests.simulation.run import run_seed


SEEDS = range(12)
PRINT_DIGESTS = """
from tests.simulation.test_run import SEEDS, compute_digest
from tests.simulation.run import run_seed
print(*(compute_digest(run_seed(seed)) for seed in SEEDS[:4]))
"""


def compute_digest(history):
    encoded = msgspec.json.encode(history, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()


@pytest.fixture(scope="module")
def histories():
    return [run_seed(seed) for seed in SEEDS]


def test_a_seed_gives_the_same_history_again(histories):
    again = [run_seed(seed) for seed in SEEDS[:4]]

    assert [*map(compute_digest, histories[:4])] == [*map(compute_digest, again)]


def test_a_seed_gives_the_same_history_in_a_process_with_other_hashes(histories):
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # that of this process is random
    printed = subprocess.run(
        [sys.executable, "-c", PRINT_DIGESTS], env=environment, capture_output=True, check=True
    ).stdout

    assert [*map(compute_digest, histories[:4])] == printed.decode().split()


def test_seeds_differ(histories):
    assert len(SEEDS) == len({*map(compute_digest, histories)})


def test_no_run_ends_with_an_error_that_the_contract_does_not_know(histories):
    for history in histories:
        failed = [call for call in history.calls if isinstance(call.outcome, Failed)]
        assert ((), []) == (history.unhandled_errors, failed), history.seed


def test_every_call_of_a_run_without_faults_has_an_outcome(histories):
    for history in histories:
        assert [] == [call for call in history.calls if call.outcome is None], history.seed


def test_runs_make_up_to_the_calls_that_they_may_make():
    def count_calls(history):
        others = {*PROBE_NAMES, "alpha", "beta", "gamma"}
        return sum(call.actor not in others for call in history.calls)

    assert {1} == {count_calls(run_seed(seed, Prefix(calls=1))) for seed in SEEDS[:5]}
    assert 3 == max(count_calls(run_seed(seed, Prefix(calls=3))) for seed in SEEDS[:10])
