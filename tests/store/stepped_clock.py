"""Servers whose clock is wrong, by libfaketime, which steps the clock of a process."""

from pathlib import Path

import pytest

from otp_service.store.embedded import find_server


LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def write_server_with_clock(folder: Path) -> tuple[Path, Path]:
    """Return a server program, and the file that holds the offset of its clock, such as `+1h`.

    The program is Valkey's, because the allocator of Redis forbids it. Skips the test without
    faketime.
    """
    if not LIBRARIES:
        pytest.skip("no faketime of Debian's: apt install faketime")
    folder.mkdir(parents=True, exist_ok=True)
    clock, program = folder / "clock", folder / "server"
    clock.write_text("+0h\n")
    settings = {
        "LD_PRELOAD": LIBRARIES[0],
        "FAKETIME_TIMESTAMP_FILE": clock,
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    exports = "".join(f"export {name}='{value}'\n" for name, value in settings.items())
    program.write_text(f"#!/bin/sh\n{exports}exec '{find_server()}' \"$@\"\n")
    program.chmod(0o755)
    return program, clock
