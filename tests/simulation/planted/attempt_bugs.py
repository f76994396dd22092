"""Bugs of the comparison of codes: what is compared, when, and how often it is accepted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from otp_service.core import codes
from otp_service.core.challenge import ChallengeStatus
from otp_service.core.ports import HashPriority
from otp_service.service import authenticator_check
from otp_service.service.code_verifier import CodeVerifier
from otp_service.store.commit_draft import CommitDraft
from tests.simulation.auditor.violation import Promise
from tests.simulation.planted.planted_bug import PlantedBug, replace_part


@contextmanager
def compare_before_charge() -> Iterator[None]:
    def build_charge(original: Any) -> Any:
        async def charge_attempt(self: Any, snapshot: Any) -> Any:
            digits, hasher = self._dependencies.policy.digits, self._dependencies.hasher
            code = codes.normalize_code(self._request.code, digits)
            if snapshot.secret:
                self.early_hash = await hasher.compute_argon2id(
                    code, snapshot.secret.salt, priority=HashPriority.VERIFY
                )
            return await original(self, snapshot)

        return charge_attempt

    def build_hash(original: Any) -> Any:
        async def compute_hash(self: Any, code: str, attempt: Any) -> Any:
            early = getattr(self, "early_hash", None)
            return early or await original(self, code, attempt)

        return compute_hash

    with (
        replace_part(CodeVerifier, "_charge_attempt", build_charge),
        replace_part(CodeVerifier, "_compute_hash", build_hash),
    ):
        yield


@contextmanager
def accept_older_step() -> Iterator[None]:
    def build(original: Any) -> Any:
        def decide_step(
            authenticator: Any, matches: Any, last_step: Any, epoch: int, now: int
        ) -> Any:
            known = None if matches and max(matches) != last_step else last_step
            return original(authenticator, matches, known, epoch, now)

        return decide_step

    with replace_part(authenticator_check, "decide_step", build):
        yield


@contextmanager
def swap_success_blindly() -> Iterator[None]:
    def build(original: Any) -> Any:
        def add_swap(self: Any, swap: Any) -> None:
            original(self, swap)
            if swap.new.stored_status is ChallengeStatus.VERIFIED:
                self.fields["expected_versions"].pop()

        return add_swap

    with replace_part(CommitDraft, "_add_swap", build):
        yield


@contextmanager
def leave_out_deadline() -> Iterator[None]:
    def build(original: Any) -> Any:
        def add_swap(self: Any, swap: Any) -> None:
            original(self, swap)
            self.fields["deadline"] = 0

        return add_swap

    with replace_part(CommitDraft, "_add_swap", build):
        yield


BUGS: Final = (
    PlantedBug(
        name="compare before charge",
        what="a code is hashed and compared before its attempt is charged",
        promises=frozenset({Promise.COMPARISONS}),
        plant=compare_before_charge,
    ),
    PlantedBug(
        name="accept an older step",
        what="an authenticator refuses the last time step alone, and not those before it",
        promises=frozenset({Promise.FACTORS}),
        plant=accept_older_step,
    ),
    PlantedBug(
        name="success without compare-and-swap",
        what="the commit of a success expects no version of its challenge",
        promises=frozenset({Promise.SUCCESS}),
        plant=swap_success_blindly,
    ),
    PlantedBug(
        name="deadline guard left out",
        what="no commit of a challenge is refused after its deadline",
        promises=frozenset({Promise.SUCCESS, Promise.COMPARISONS}),
        plant=leave_out_deadline,
    ),
)
