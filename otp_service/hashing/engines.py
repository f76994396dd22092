"""The implementations of argon2id that can be installed. Their outputs are identical."""

import importlib
import logging
from typing import Final, Protocol

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from otp_service.core.argon2_profile import Argon2Profile


HASH_BYTES: Final = 32

logger = logging.getLogger(__name__)


class Argon2Error(Exception):
    """An engine could not compute a hash, for example because memory was missing."""


class Engine(Protocol):
    """An implementation of argon2id (RFC 9106). Several threads call it at the same time."""

    @property
    def name(self) -> str:
        """The name in log lines, metrics and command output."""

    def supports(self, profile: Argon2Profile, salt: bytes) -> bool:
        """Whether it can compute a hash with these parameters and a salt of this length."""

    def compute(self, profile: Argon2Profile, code: str, salt: bytes) -> bytes:
        """Return HASH_BYTES bytes. Raises Argon2Error. It takes milliseconds by design."""


class Argon2CffiEngine:
    """argon2-cffi, which is always installed and supports every profile.

    Its wheels are built for every x86-64 CPU, without AVX2. `make setup NATIVE=1` builds it for the
    CPU of this machine. Nothing in the library says how it was built, so the name does not either.
    """

    name = "argon2-cffi"

    def supports(self, profile: Argon2Profile, salt: bytes) -> bool:  # noqa: ARG002  # all of them
        return True

    def compute(self, profile: Argon2Profile, code: str, salt: bytes) -> bytes:
        try:
            return hash_secret_raw(
                code.encode(),
                salt,
                time_cost=profile.passes,
                memory_cost=profile.memory_kib,
                parallelism=profile.lanes,
                hash_len=HASH_BYTES,
                type=Type.ID,
            )
        except HashingError as error:
            raise Argon2Error(str(error)) from error


ARGON2_CFFI: Final = Argon2CffiEngine()


def load_engines() -> list[Engine]:
    """Return the installed engines, argon2-cffi first. Logs which one is missing or broken."""
    engines: list[Engine] = [ARGON2_CFFI]
    try:
        libsodium = importlib.import_module("otp_service.hashing.libsodium")
    except ImportError:
        logger.info("the argon2 engine libsodium is not installed: it is otp-service[fast]")
    except Exception as error:  # noqa: BLE001  # a broken library may raise anything
        logger.warning("the argon2 engine libsodium is left out: %s", type(error).__name__)
    else:
        engines.append(libsodium.LibsodiumEngine())
    return engines
