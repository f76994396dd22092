"""argon2id of codes, outside the event loop.

ArgonPool                     a bounded number of threads, with priorities       pool.py
load_engines, Engine          the implementations that are installed             engines.py, libsodium.py
choose_engine, rank_engines   the fastest of them that passes its tests          engine_choice.py
compute_argon2id              one hash by argon2-cffi, in the calling thread     engines.py
"""

from otp_service.hashing.engine_choice import (
    EngineFault,
    MeasuredEngine,
    choose_engine,
    rank_engines,
)
from otp_service.hashing.engines import (
    ARGON2_CFFI,
    HASH_BYTES,
    Argon2Error,
    Engine,
    load_engines,
)
from otp_service.hashing.pool import ArgonPool


compute_argon2id = ARGON2_CFFI.compute

__all__ = [
    "ARGON2_CFFI",
    "HASH_BYTES",
    "Argon2Error",
    "ArgonPool",
    "Engine",
    "EngineFault",
    "MeasuredEngine",
    "choose_engine",
    "compute_argon2id",
    "load_engines",
    "rank_engines",
]
