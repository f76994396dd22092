"""argon2 alone: the rate of the cores without any other work."""

import secrets
import threading
import time

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.hashing import compute_argon2id


def measure_hash_rate(profile: Argon2Profile, threads: int, seconds: float) -> float:
    """Return hashes a second of this many threads together."""
    start, end = threading.Barrier(threads), time.perf_counter() + seconds
    speeds: list[float] = []

    def hash_until_end() -> None:
        start.wait()
        began, count = time.perf_counter(), 0
        while (now := time.perf_counter()) < end:
            compute_argon2id(profile, "123456", secrets.token_bytes(16))
            count += 1
        speeds.append(count / (now - began))

    running = [threading.Thread(target=hash_until_end) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(speeds)
