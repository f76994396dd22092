"""The choice among engines: the fastest one that computes argon2id."""

import time
from collections.abc import Callable
from functools import partial

import pytest

from otp_service.core.argon2_profile import DEFAULT_PROFILE, TEST_PROFILE, Argon2Profile
from otp_service.hashing.engine_choice import (
    EngineFault,
    Measure,
    MeasuredEngine,
    choose_engine,
    measure_cpu_ms,
    rank_engines,
)
from otp_service.hashing.engines import ARGON2_CFFI, Argon2Error, load_engines


PROFILE = Argon2Profile(memory_kib=16, passes=2, lanes=1)
SALT = b"sixteen bytes!!!"
Compute = Callable[[Argon2Profile, str, bytes], bytes]


class FakeClock:
    """Seconds that only engines let pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    @property
    def measure(self) -> Measure:
        """Measure by this clock."""
        return partial(measure_cpu_ms, read_clock=self)


class FakeEngine:
    """An engine with one lane that takes this long by the clock for each hash."""

    def __init__(
        self,
        clock: FakeClock,
        milliseconds: float,
        compute: Compute = ARGON2_CFFI.compute,
        name: str = "fake",
    ) -> None:
        self.name = name
        self.calls = 0
        self._clock, self._milliseconds, self._compute = clock, milliseconds, compute

    def supports(self, profile: Argon2Profile, salt: bytes) -> bool:
        return profile.lanes == 1 and len(salt) == 16

    def compute(self, profile: Argon2Profile, code: str, salt: bytes) -> bytes:
        self.calls += 1
        self._clock.now += self._milliseconds / 1000
        return self._compute(profile, code, salt)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(
    ("first_ms", "second_ms", "chosen"),
    [(15, 7, 1), (5, 7, 0), (15.625, 15.625, 0), (15, 0, 1)],  # 15.625 ms are exact in binary
)
def test_the_fastest_engine_is_chosen(
    clock: FakeClock, first_ms: float, second_ms: float, chosen: int
) -> None:
    """Of two that are as fast, the first one."""
    engines = FakeEngine(clock, first_ms), FakeEngine(clock, second_ms)

    ranked = rank_engines(PROFILE, engines, clock.measure)

    assert engines[chosen] is ranked[0].engine
    assert [min(first_ms, second_ms), max(first_ms, second_ms)] == (
        pytest.approx([measured.hash_ms for measured in ranked])
    )


def compute_wrong(_profile: Argon2Profile, _code: str, _salt: bytes) -> bytes:
    return bytes(32)


def compute_wrong_with_more_memory(profile: Argon2Profile, code: str, salt: bytes) -> bytes:
    """Give the known answers, and no other ones."""
    is_right = profile != PROFILE
    return (ARGON2_CFFI.compute if is_right else compute_wrong)(profile, code, salt)


def compute_wrong_after_ten_characters(profile: Argon2Profile, code: str, salt: bytes) -> bytes:
    """Ignore the end of a long code, for example of one with a zero byte."""
    return ARGON2_CFFI.compute(profile, code[:10], salt)


def raise_error(_profile: Argon2Profile, _code: str, _salt: bytes) -> bytes:
    raise OSError("a text of the library")


def build_unsteady() -> Compute:
    """Return a function that is right with the profile in force for one call only."""
    calls: list[str] = []

    def compute(profile: Argon2Profile, code: str, salt: bytes) -> bytes:
        if profile == PROFILE:
            calls.append(code)
        return (compute_wrong if len(calls) > 1 else ARGON2_CFFI.compute)(profile, code, salt)

    return compute


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (compute_wrong, "it fails a known-answer test"),
        (compute_wrong_after_ten_characters, "it fails a known-answer test"),
        (compute_wrong_with_more_memory, "it computes something else than argon2-cffi"),
        (build_unsteady(), "it computes something else each time"),
        (raise_error, "OSError"),
    ],
)
def test_an_engine_that_is_wrong_or_raises_is_left_out(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, compute: Compute, reason: str
) -> None:
    """However fast it is. The log has the reason, without the text of a library."""
    reference = FakeEngine(clock, 15, name="argon2-cffi")
    broken = FakeEngine(clock, 1, compute, name="broken")
    sound = FakeEngine(clock, 7, name="sound")

    ranked = rank_engines(PROFILE, (reference, broken, sound), clock.measure)

    assert [sound, reference] == [measured.engine for measured in ranked]
    assert [f"the argon2 engine broken is left out: {reason}"] == caplog.messages
    assert "a text of the library" not in caplog.text


@pytest.mark.parametrize(
    ("compute", "error"),
    [(compute_wrong, EngineFault), (build_unsteady(), EngineFault), (raise_error, OSError)],
)
def test_a_process_whose_argon2_cffi_is_wrong_does_not_start(
    clock: FakeClock, compute: Compute, error: type[Exception]
) -> None:
    """It computes what the others do not support, and is what they are compared with."""
    engines = FakeEngine(clock, 15, compute), FakeEngine(clock, 7)

    with pytest.raises(error):
        rank_engines(PROFILE, engines, clock.measure)


def test_an_engine_that_does_not_support_the_profile_is_not_called(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """libsodium has one lane only."""
    other = FakeEngine(clock, 1, name="other")

    ranked = rank_engines(Argon2Profile(32, 1, 4), (ARGON2_CFFI, other), clock.measure)

    assert [ARGON2_CFFI] == [measured.engine for measured in ranked]
    assert 0 == other.calls
    reason = "it does not support the profile in force"
    assert [f"the argon2 engine other is left out: {reason}"] == caplog.messages


@pytest.mark.parametrize(
    ("times_ms", "medians_ms"),
    [
        ([15, 7, 19, 9, 1, 8], [8, 15]),
        ([20, 10, 20, 16], [13, 20]),  # 66 ms after two rounds
        ([59, 1], [1, 59]),
        ([10_000, 9_000], [9_000, 10_000]),
    ],
)
def test_engines_are_measured_in_turns_and_soon_enough(
    clock: FakeClock, times_ms: list[float], medians_ms: list[float]
) -> None:
    """Three rounds, and none that starts after 60 ms: every worker waits for it at its start."""
    engines, times = (FakeEngine(clock, 0), FakeEngine(clock, 0)), iter(times_ms)

    def measure(run: Callable[[], None]) -> float:
        run()
        return next(times)

    ranked = rank_engines(PROFILE, engines, measure)

    assert medians_ms == [measured.hash_ms for measured in ranked]
    assert next(times, None) is None


def test_the_first_runs_are_not_measured(clock: FakeClock) -> None:
    """malloc maps the memory of argon2-cffi in the first two, and keeps it afterwards."""
    runs = []

    def compute_slowly_at_first(profile: Argon2Profile, code: str, salt: bytes) -> bytes:
        runs.append(profile)
        is_cold = [one.memory_kib for one in runs].count(PROFILE.memory_kib) <= 2
        clock.now += 1 if is_cold else 0
        return ARGON2_CFFI.compute(profile, code, salt)

    engines = FakeEngine(clock, 5, compute_slowly_at_first), FakeEngine(clock, 7)

    ranked = rank_engines(PROFILE, engines, clock.measure)

    assert engines[0] is ranked[0].engine
    assert pytest.approx(5) == ranked[0].hash_ms


def test_other_work_of_the_machine_is_not_measured() -> None:
    """A container with a tenth of a core waits nine tenths of the time."""
    run = partial(ARGON2_CFFI.compute, DEFAULT_PROFILE, "123456", SALT)
    clock_ms: list[float] = []

    def wait_and_run() -> None:
        began = time.perf_counter()
        time.sleep(0.05)  # really: the clock of a process's CPU cannot be moved
        run()
        clock_ms.append(1000 * (time.perf_counter() - began))

    cpu_ms = measure_cpu_ms(wait_and_run)

    assert cpu_ms < min(clock_ms) - 45


@pytest.mark.parametrize(
    ("profile", "salt"),
    [(Argon2Profile(16, 2, 2), SALT), (TEST_PROFILE, b"8 bytes!"), (TEST_PROFILE, bytes(17))],
)
def test_what_the_chosen_engine_does_not_support_is_done_by_argon2_cffi(
    clock: FakeClock, profile: Argon2Profile, salt: bytes
) -> None:
    """A recovery set is kept for a year, and compared with the profile that it was made with."""
    engine = FakeEngine(clock, 1, compute_wrong)
    measured = MeasuredEngine(engine, 1.0)

    assert ARGON2_CFFI.compute(profile, "ABCD", salt) == measured.compute(profile, "ABCD", salt)
    assert 0 == engine.calls
    assert bytes(32) == measured.compute(TEST_PROFILE, "ABCD", SALT)


def test_the_installed_engines_pass_their_tests(caplog: pytest.LogCaptureFixture) -> None:
    """With the default profile too, whichever of them is the fastest here."""
    ranked = rank_engines(DEFAULT_PROFILE, load_engines())
    chosen = choose_engine(DEFAULT_PROFILE)

    assert {"argon2-cffi", "libsodium"} == {measured.engine.name for measured in ranked}
    assert all(measured.hash_ms > 0 for measured in ranked)
    assert chosen.engine.name in {measured.engine.name for measured in ranked}
    assert [] == caplog.messages


def test_argon2_that_cannot_run_with_the_profile_ends_the_choice() -> None:
    """A profile with more memory than the machine has: the worker does not start."""
    with pytest.raises(Argon2Error):
        choose_engine(Argon2Profile(8, 0, 1))
