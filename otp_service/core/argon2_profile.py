"""What one argon2id run costs us, and what all codes would cost a thief who has the pepper.

The pepper is the protection; argon2id only dampens the damage once the pepper is gone too: a
code has 10^6 values, so no profile that a login can bear holds a thief up for long (R12, A9).
"""

import msgspec


OWASP_PROFILES = ((47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5))
"""(KiB, passes) of argon2id with one lane: OWASP Password Storage Cheat Sheet, "Argon2id"."""

GPU_BYTES_PER_SECOND = 960_000_000_000
"""Bytes a second that one high-end GPU moves (RX 7900 XTX), the bound on argon2 there.

OWASP's rows come from it: tobtu.com/minimum-password-settings counts (3t - 1) KiB moved for each
KiB of memory, and asks that a GPU stay under 10,000 hashes a second.
"""

CORES_PER_GPU = 170
"""Cores of ours that one such GPU is worth: 10,000 hashes a second against the 60 that one core
makes with 7168 KiB and 5 passes (16.5 ms each, measured)."""

MAX_MEMORY_KIB, MAX_PASSES, MAX_LANES = 1 << 21, 64, 16
"""Beyond RFC 9106's own first choice (2^21 KiB) no login waits."""


class Argon2Profile(msgspec.Struct, frozen=True):
    """The parameters of argon2id (RFC 9106 §3.1)."""

    memory_kib: int
    passes: int
    lanes: int

    def is_below_owasp(self) -> bool:
        """Whether no row of OWASP's table is reached in both memory and passes."""
        return not any(self.memory_kib >= m and self.passes >= t for m, t in OWASP_PROFILES)

    def find_errors(self) -> list[tuple[str, str]]:
        """Return (field, remedy) for what argon2 itself would refuse or nobody could pay."""
        least = 8 * max(1, self.lanes)
        rules = (
            (
                "memory_kib",
                least <= self.memory_kib <= MAX_MEMORY_KIB,
                "must be from 8 a lane to 2 GiB",
            ),
            ("passes", 1 <= self.passes <= MAX_PASSES, f"must be from 1 to {MAX_PASSES}"),
            ("lanes", 1 <= self.lanes <= MAX_LANES, f"must be from 1 to {MAX_LANES}"),
        )
        return [(field, remedy) for field, kept, remedy in rules if not kept]

    def estimate_gpu_hash_rate(self) -> float:
        """Return the hashes a second of one GPU, were its memory bandwidth the only bound."""
        return GPU_BYTES_PER_SECOND / (self.memory_kib * 1024 * (3 * self.passes - 1))


DEFAULT_PROFILE = Argon2Profile(memory_kib=7168, passes=5, lanes=1)
"""The row of OWASP's table with the least memory: many logins at once fit."""

TEST_PROFILE = Argon2Profile(memory_kib=8, passes=1, lanes=1)
"""Only for tests."""


def estimate_attack_hours(
    profile: Argon2Profile, hashes_per_second: float, *, digits: int = 6
) -> float:
    """Return the hours in which a thief of Redis and the pepper tries every code of a challenge.

    He has one GPU. It is taken to be as fast as the faster of two estimates: our own speed on one
    core (`hashes_per_second`) times GPU_FACTOR, and what its memory bandwidth lets through. With
    the default: 10^6 codes / (60.6 * 170 = 10,302 a second) = 97 s, 0.027 h, and half of that
    until he expects to meet the code. Each challenge has its own salt, so the next one costs him
    the same again; a code that is no longer valid is worth nothing to him.
    """
    speed = max(hashes_per_second * CORES_PER_GPU, profile.estimate_gpu_hash_rate())
    return float(10**digits) / speed / 3600
