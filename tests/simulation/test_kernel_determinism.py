"""A run follows from its seed alone."""

import os
import random
import subprocess
import sys
import threading
import time

from tests.simulation.kernel.forbidden_calls import watch_forbidden_calls
from tests.simulation.kernel_scenario import run_scenario
from tests.simulation.run import run_seed


def start_scenario(seed: int, hash_seed: int) -> subprocess.Popen[str]:
    """Start a process that prints what a run saw, with other hashes of strings."""
    program = (
        "from tests.simulation.kernel_scenario import run_scenario;"
        f"padding = [object() for _ in range({hash_seed} * 1000)];"  # other addresses too
        f"print(run_scenario({seed}))"
    )
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_see_the_same_byte_for_byte():
    """With other hashes of strings, and after another history of the process."""
    run_scenario(6)  # another history of the process
    here = run_scenario(5) + "\n"
    processes = [start_scenario(5, hash_seed) for hash_seed in (1, 2)]
    there = [process.communicate()[0] for process in processes]

    assert [here, here] == there
    assert here.count("\n") > 1000
    assert all(
        word in here
        for word in ("cut", "freeze", "slow", "lag", "NotReplicated", "StoreUnavailable")
    )


def test_another_seed_is_another_run():
    """Else a million seeds would try one thing."""
    assert 4 == len({run_scenario(seed) for seed in range(4)})


def test_nothing_reads_a_real_clock_or_starts_a_thread():
    """The store's client included: its intervals are by the clock of the loop."""
    with watch_forbidden_calls() as found:
        run_scenario(5)

    assert [] == found


def test_a_whole_run_reads_no_real_clock_and_no_other_randomness():
    """The service, the model of Redis, the world and the actors."""
    run_seed(0)  # settings and keys are made once in a process, with real randomness

    with watch_forbidden_calls() as found:
        for seed in range(1, 4):
            run_seed(seed)

    assert [] == found


def test_what_is_forbidden_is_found():
    """Also where it was imported under another name."""
    read_clock = time.monotonic
    thread = threading.Thread(target=int)

    with watch_forbidden_calls() as found:
        read_clock()
        random.random()  # noqa: S311  # what must be found
        os.urandom(1)
        thread.start()
        thread.join()

    names = [line.split(" in ")[0] for line in found]
    assert ["monotonic", "random", "urandom"] == names[:3]
    assert names[3].startswith("start_")
