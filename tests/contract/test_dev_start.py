"""What `otp-service dev` prints and keeps over a restart."""

import re
from pathlib import Path

import pytest

from tests.contract.support import (
    Challenge,
    Dev,
    assert_rate_limited,
    running,
)


def test_the_screen_shows_no_code_and_no_number(dev: Dev, challenge: Challenge) -> None:
    """The exception is the number in the line to paste."""
    challenge.verify(challenge.wrong)
    code = challenge.code
    challenge.verify(code)

    printed = dev.printed.read_text()

    assert challenge.number not in printed
    assert code not in re.findall(r"(?<![\d.])\d{6}(?!\d)", printed)


@pytest.mark.slow
def test_a_restart_keeps_live_challenges(tmp_path: Path) -> None:
    """Codes, attempts, cooldowns, idempotency and the generated key remain; the inbox is empty."""
    headers = {"Idempotency-Key": "before"}
    with running(tmp_path / "data") as before:
        kept = before.challenge(headers=headers)
        code = kept.code
        kept.fail(2)

    with running(tmp_path / "data") as after:
        kept.dev = after

        assert before.key == after.key
        assert [] == after.inbox()
        assert 3 == kept.view()["attempts_left"]
        assert kept.id == after.issue(kept.number, headers=headers).json()["id"]
        assert_rate_limited(after.issue(kept.number))
        assert 200 == kept.verify(code).status_code
