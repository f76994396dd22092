"""`python -m bench.argon2_rate`: argon2 alone, in a process of its own: the ceiling of an engine.

It uses the engine that the service would choose, and prints what it measured as JSON.
"""

import argparse
import secrets
import subprocess
import sys
import threading
import time

import msgspec

from bench.engines import Program
from otp_service.core.argon2_profile import DEFAULT_PROFILE, Argon2Profile
from otp_service.hashing import choose_engine


class EngineRate(msgspec.Struct, frozen=True):
    """What an engine does with the default profile, in all threads together."""

    engine: str
    hashes_per_second: float
    cpu_seconds_per_hash: float


def measure_program(program: Program, threads: int, seconds: float) -> EngineRate:
    """Measure the engine that this program chooses."""
    command = program.build_command(
        "-m", "bench.argon2_rate", f"--threads={threads}", f"--seconds={seconds}"
    )
    result = subprocess.run(  # noqa: S603  # our own program
        command, env=program.build_environ(), cwd=program.code, stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(result.stdout, type=EngineRate)


def measure_engine(profile: Argon2Profile, threads: int, seconds: float) -> EngineRate:
    """Measure the engine that the service chooses in this process."""
    chosen = choose_engine(profile)
    before = time.process_time()
    counts: list[int] = []
    rates: list[float] = []
    start, end = threading.Barrier(threads), time.perf_counter() + seconds

    def hash_until_end() -> None:
        start.wait()
        began, count = time.perf_counter(), 0
        while (now := time.perf_counter()) < end or not count:
            chosen.compute(profile, "123456", secrets.token_bytes(16))
            count += 1
        counts.append(count)
        rates.append(count / (now - began))

    running = [threading.Thread(target=hash_until_end) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    used = time.process_time() - before
    return EngineRate(chosen.engine.name, sum(rates), used / sum(counts))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.argon2_rate", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads that compute hashes (1)")
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="length of the measurement (1.5)"
    )
    args = parser.parse_args()
    rate = measure_engine(DEFAULT_PROFILE, args.threads, args.seconds)
    sys.stdout.write(msgspec.json.encode(rate).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
