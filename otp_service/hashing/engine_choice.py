"""Which engine computes argon2id: the fastest one that passes its tests, measured at the start."""

import logging
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.hashing.engines import ARGON2_CFFI, Engine, load_engines


MAX_RUNS: Final = 3
"""The first one also maps memory, so it is not the median."""

MAX_MEASUREMENT_MS: Final = 40.0
"""No run starts after it, so a worker with two engines needs about 0.1 s with the default profile."""

logger = logging.getLogger(__name__)

Measure = Callable[[Callable[[], None]], float]
"""Calls a function at least once, and returns the milliseconds of one call."""


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
    """Return the median of a few calls, in milliseconds of CPU of all threads of the process.

    `read_clock` returns seconds.
    """
    times_ms: list[float] = []
    while len(times_ms) < MAX_RUNS and sum(times_ms) < MAX_MEASUREMENT_MS:
        began = read_clock()
        run()
        times_ms.append(1000 * (read_clock() - began))
    return median(times_ms)


def choose_engine(profile: Argon2Profile, measure: Measure = measure_cpu_ms) -> MeasuredEngine:
    """Return the fastest installed engine that passes its tests. Raises as `rank_engines`."""
    return rank_engines(profile, load_engines(), measure)[0]


def rank_engines(
    profile: Argon2Profile, engines: Sequence[Engine], measure: Measure = measure_cpu_ms
) -> list[MeasuredEngine]:
    """Return the engines that pass their tests, the fastest one first.

    Each must compute the known answers, and with this profile the same as the first one. One that
    does not, that raises, or that does not support the profile is left out with a log line.
    Raises EngineFault or Argon2Error if the first one fails: it computes what others do not support.
    """
    reference, *others = engines
    hash_ms, expected = _test_engine(reference, profile, measure)
    ranked = [MeasuredEngine(reference, hash_ms)]
    for engine in others:
        if not engine.supports(profile, KNOWN_ANSWERS[0].salt):
            logger.info("the argon2 engine %s does not support %s", engine.name, profile)
            continue
        try:
            hash_ms, argon2_hash = _test_engine(engine, profile, measure)
            if argon2_hash != expected:
                raise EngineFault(f"it computes something else than {reference.name}")
        except Exception as error:  # noqa: BLE001  # a broken library may raise anything
            reason = error if isinstance(error, EngineFault) else type(error).__name__
            logger.warning("the argon2 engine %s is left out: %s", engine.name, reason)
        else:
            ranked.append(MeasuredEngine(engine, hash_ms))
    return sorted(ranked, key=lambda measured: measured.hash_ms)


def _test_engine(engine: Engine, profile: Argon2Profile, measure: Measure) -> tuple[float, bytes]:
    """Return the milliseconds and the result of a hash with this profile. Raises EngineFault."""
    for answer in KNOWN_ANSWERS:
        if engine.compute(answer.profile, answer.code, answer.salt).hex() != answer.argon2_hash:
            raise EngineFault("it fails a known-answer test")
    code, salt = KNOWN_ANSWERS[0].code, KNOWN_ANSWERS[0].salt
    hashes: set[bytes] = set()
    hash_ms = measure(lambda: hashes.add(engine.compute(profile, code, salt)))
    if len(hashes) != 1:
        raise EngineFault("it computes something else each time")
    return hash_ms, hashes.pop()
