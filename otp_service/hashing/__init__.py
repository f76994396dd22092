"""argon2id of codes, outside the event loop.

ArgonPool           a bounded number of threads, with priorities       pool.py
compute_argon2id    one hash in the calling thread                     argon2id.py
"""

from otp_service.hashing.argon2id import HASH_BYTES, compute_argon2id
from otp_service.hashing.pool import ArgonPool


__all__ = ["HASH_BYTES", "ArgonPool", "compute_argon2id"]
