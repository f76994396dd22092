"""The parameters of argon2id, and what an attack on all codes of a challenge costs.

The pepper is the protection; argon2id only reduces the damage when the pepper is stolen too. A code
has 10^6 values, so no profile that is fast enough for a login delays an attacker long (R12, A9).
"""

import msgspec

from otp_service.core.timestamps import HOUR_SECONDS


OWASP_PROFILES = ((47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5))
"""(KiB, passes) of argon2id with one lane: OWASP Password Storage Cheat Sheet, "Argon2id"."""

GPU_BYTES_PER_SECOND = 960_000_000_000
"""Memory bandwidth of one high-end GPU (RX 7900 XTX), which bounds argon2 on it.

OWASP's rows are derived from it: tobtu.com/minimum-password-settings counts (3t - 1) KiB moved for
each KiB of memory, and requires that a GPU stays under 10,000 hashes a second.
"""

CORES_PER_GPU = 48
"""Cores that equal one such GPU: 10,000 hashes a second against 208 of one core with 7168 KiB and 5
passes (4.8 ms each, measured with argon2-cffi built for AVX-512, the fastest engine).

With a slower engine it is the bandwidth that decides, since our engine does not slow a GPU down.
"""

MAX_MEMORY_KIB, MAX_PASSES, MAX_LANES = 1 << 21, 64, 16
"""RFC 9106's first choice has 2^21 KiB; a login cannot wait longer than that takes."""


class Argon2Profile(msgspec.Struct, frozen=True):
    """The parameters of argon2id (RFC 9106 §3.1)."""

    memory_kib: int
    passes: int
    lanes: int

    def is_below_owasp(self) -> bool:
        """Whether no row of OWASP's table is met in both memory and passes."""
        return not any(self.memory_kib >= m and self.passes >= t for m, t in OWASP_PROFILES)

    def find_errors(self) -> list[tuple[str, str]]:
        """Return (field, remedy) for values that argon2 refuses or that no login can afford."""
        has_memory = 8 * max(1, self.lanes) <= self.memory_kib <= MAX_MEMORY_KIB
        rules = (
            ("memory_kib", has_memory, "must be from 8 for each lane to 2 GiB"),
            ("passes", 1 <= self.passes <= MAX_PASSES, f"must be from 1 to {MAX_PASSES}"),
            ("lanes", 1 <= self.lanes <= MAX_LANES, f"must be from 1 to {MAX_LANES}"),
        )
        return [(field, remedy) for field, is_valid, remedy in rules if not is_valid]

    def estimate_gpu_hash_rate(self) -> float:
        """Return the hashes a second of one GPU that only its memory bandwidth bounds."""
        return GPU_BYTES_PER_SECOND / (self.memory_kib * 1024 * (3 * self.passes - 1))


DEFAULT_PROFILE = Argon2Profile(memory_kib=7168, passes=5, lanes=1)
"""The row of OWASP's table with the least memory, for many logins at the same time."""

TEST_PROFILE = Argon2Profile(memory_kib=8, passes=1, lanes=1)


def estimate_attack_hours(
    profile: Argon2Profile, hashes_per_second: float, *, digits: int = 6
) -> float:
    """Return the hours in which an attacker with Redis, the pepper and one GPU tries every code.

    The speed of the GPU is the faster of two estimates: the speed of one core here
    (`hashes_per_second`) times CORES_PER_GPU, and what its memory bandwidth admits. With the
    default and the fastest engine: 10^6 codes / (208 * 48 = 9,984 a second) = 100 s, 0.028 h, and
    half of that on average. Each challenge has its own salt, so each costs the same again, and a code is worthless
    once it is invalid.
    """
    speed = max(hashes_per_second * CORES_PER_GPU, profile.estimate_gpu_hash_rate())
    return float(10**digits) / speed / HOUR_SECONDS
