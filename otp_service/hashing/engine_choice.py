"""Which engine computes argon2id: the fastest one that passes its tests, measured at the start."""

import logging
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.hashing.engines import ARGON2_CFFI, Engine, load_engines


WARM_UPS: Final = 2
"""Runs with one pass before the measurement, in which malloc gets the memory that it then keeps."""

MAX_ROUNDS: Final = 3

MAX_MEASUREMENT_MS: Final = 60.0
"""No round starts after it, so a worker with two engines needs about 0.1 s with the default profile."""

TEST_CODE, TEST_SALT = "000000", bytes(16)

logger = logging.getLogger(__name__)

Measure = Callable[[Callable[[], None]], float]
"""Calls a function once, and returns the milliseconds of the call."""


class EngineFault(Exception):
    """An engine failed one of its tests."""


class KnownAnswer(NamedTuple):
    """A hash that every engine must compute."""

    profile: Argon2Profile
    code: str
    salt: bytes
    argon2_hash: str
    """In hexadecimal digits."""


KNOWN_ANSWERS: Final = (
    KnownAnswer(
        Argon2Profile(memory_kib=8, passes=1, lanes=1),
        "000000",
        bytes(range(16)),
        "6e2e6e13bcc8ab545b54af5b1508b6feb2628549f564ddc58c5d211458866a13",
    ),
    KnownAnswer(
        Argon2Profile(memory_kib=64, passes=3, lanes=1),
        "012345",
        bytes(range(16, 32)),
        "1518d918dd1654ce8124b383ab1dfae458d6c12b0b76f24d00b3752d804c481a",
    ),
    KnownAnswer(
        Argon2Profile(memory_kib=1024, passes=2, lanes=1),
        "é" * 100 + "\0",
        b"\xff" * 16,
        "454ba77cc11dd0c97b2a60125a6a2a4e0374718405e7814ce5c4e9263942e3ee",
    ),
)
"""Computed with OpenSSL, which gives the test vector of RFC 9106 §5.3; a test holds both."""


class MeasuredEngine(NamedTuple):
    """An engine that passed its tests."""

    engine: Engine
    hash_ms: float
    """Milliseconds of CPU for one hash of the profile in force, at the start of the process.

    It is the time of CPU and not of the clock, so other work and a CPU quota do not change it.
    """

    def compute(self, profile: Argon2Profile, code: str, salt: bytes) -> bytes:
        """Return argon2id(code, salt). What the engine does not support is done by argon2-cffi."""
        engine = self.engine if self.engine.supports(profile, salt) else ARGON2_CFFI
        return engine.compute(profile, code, salt)


def measure_cpu_ms(
    run: Callable[[], None], read_clock: Callable[[], float] = time.process_time
) -> float:
    """Return the milliseconds of a call: those of CPU, in all threads of the process.

    `read_clock` returns seconds.
    """
    began = read_clock()
    run()
    return (read_clock() - began) * 1000


def choose_engine(profile: Argon2Profile, measure: Measure = measure_cpu_ms) -> MeasuredEngine:
    """Return the fastest installed engine that passes its tests. Raises as `rank_engines`."""
    return rank_engines(profile, load_engines(), measure)[0]


def rank_engines(
    profile: Argon2Profile, engines: Sequence[Engine], measure: Measure = measure_cpu_ms
) -> list[MeasuredEngine]:
    """Return the engines that pass their tests, the fastest one first.

    Each must compute the known answers, and with this profile the same as the first one. One that
    does not, that raises, or that does not support the profile is left out with a log line. They are
    measured in turns, so that other work slows all of them down.
    Raises EngineFault or Argon2Error if the first one fails: it computes what others do not support.
    """
    trials = [_Trial(engine, profile, measure) for engine in engines]
    reference = trials[0]
    trials = _run_step(trials, _Trial.check_support)
    trials = _run_step(trials, _Trial.check_known_answers)
    trials = _run_step(trials, _Trial.warm_up)
    for _ in range(MAX_ROUNDS):
        if sum(sum(trial.times_ms) for trial in trials) < MAX_MEASUREMENT_MS:
            trials = _run_step(trials, _Trial.measure_hash)
    trials = _run_step(trials, lambda trial: trial.compare_with(reference))
    ranked = [MeasuredEngine(trial.engine, median(trial.times_ms)) for trial in trials]
    return sorted(ranked, key=lambda measured: measured.hash_ms)


def _run_step(trials: list["_Trial"], step: Callable[["_Trial"], None]) -> list["_Trial"]:
    """Return the trials in which the step succeeds. Raises what the first one raises."""
    sound = trials[:1]
    step(trials[0])
    for trial in trials[1:]:
        try:
            step(trial)
        except Exception as error:  # noqa: BLE001  # a broken library may raise anything
            reason = error if isinstance(error, EngineFault) else type(error).__name__
            logger.warning("the argon2 engine %s is left out: %s", trial.engine.name, reason)
        else:
            sound.append(trial)
    return sound


class _Trial:
    """The tests and the measurement of one engine. Each step raises EngineFault if it fails."""

    def __init__(self, engine: Engine, profile: Argon2Profile, measure: Measure) -> None:
        self.engine = engine
        self.times_ms: list[float] = []
        self._profile, self._measure = profile, measure
        self._hashes: set[bytes] = set()

    def check_support(self) -> None:
        if not self.engine.supports(self._profile, TEST_SALT):
            raise EngineFault("it does not support the profile in force")

    def check_known_answers(self) -> None:
        for answer in KNOWN_ANSWERS:
            argon2_hash = self.engine.compute(answer.profile, answer.code, answer.salt)
            if argon2_hash.hex() != answer.argon2_hash:
                raise EngineFault("it fails a known-answer test")

    def warm_up(self) -> None:
        short = msgspec.structs.replace(self._profile, passes=1)
        for _ in range(WARM_UPS):
            self.engine.compute(short, TEST_CODE, TEST_SALT)

    def measure_hash(self) -> None:
        self.times_ms.append(self._measure(self._compute_hash))

    def _compute_hash(self) -> None:
        self._hashes.add(self.engine.compute(self._profile, TEST_CODE, TEST_SALT))

    def compare_with(self, reference: "_Trial") -> None:
        if len(self._hashes) != 1:
            raise EngineFault("it computes something else each time")
        if self._hashes != reference._hashes:  # noqa: SLF001  # its own class
            raise EngineFault(f"it computes something else than {reference.engine.name}")
