"""Bugs of charges and refunds: made twice, forgotten, or made where nothing is to be taken back."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from msgspec.structs import replace

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.errors import NotReplicated
from otp_service.service.code_verifier import CodeVerifier
from otp_service.service.pending_refunds import PendingRefunds
from otp_service.service.shared_limits import SharedLimits
from otp_service.store.redis_store import RedisStore
from tests.simulation.auditor.violation import Promise
from tests.simulation.planted.planted_bug import PlantedBug, replace_part
from tests.simulation.redis_model.commit_script import decision


CHARGES: Final = frozenset({Promise.CHARGES, Promise.COMPARISONS})


@contextmanager
def refund_twice() -> Iterator[None]:
    """In the model: `commit.lua` does the same on a real server (test_commit_script_model.py)."""

    def build(_: Any) -> Any:
        def mark_reversed(context: Any, charge_replies: Any) -> None:
            pass

        return mark_reversed

    with replace_part(decision, "_mark_reversed", build):
        yield


@contextmanager
def forget_refund_of_unmet_wait() -> Iterator[None]:
    def build(original: Any) -> Any:
        @asynccontextmanager
        async def refund_if_unavailable(self: Any, refund: Any) -> AsyncIterator[None]:
            unmet = None
            async with original(self, refund):
                try:
                    yield
                except NotReplicated as error:
                    unmet = error
            if unmet:
                raise unmet

        return refund_if_unavailable

    with replace_part(PendingRefunds, "refund_if_unavailable", build):
        yield


@contextmanager
def keep_charges_of_success() -> Iterator[None]:
    def build_commit(original: Any) -> Any:
        async def commit(self: Any, commit: Any) -> Any:
            if commit.swap and commit.swap.new.stored_status is ChallengeStatus.VERIFIED:
                commit = replace(commit, refunds=())
            return await original(self, commit)

        return commit

    def build_settlement(_: Any) -> Any:
        async def settle_success(self: Any, *_args: object, **_options: object) -> None:
            pass

        return settle_success

    with (
        replace_part(RedisStore, "commit", build_commit),
        replace_part(SharedLimits, "settle_success", build_settlement),
    ):
        yield


@contextmanager
def refund_wrong_code() -> Iterator[None]:
    def build(original: Any) -> Any:
        async def reject(self: Any, attempt: Any) -> None:
            await original(self, attempt)
            await self._store.commit(self._context.build_commit(refunds=attempt.number_refunds))

        return reject

    with replace_part(CodeVerifier, "_reject", build):
        yield


BUGS: Final = (
    PlantedBug(
        name="refund twice",
        what="the store does not remember that a charge was reversed",
        promises=CHARGES,
        plant=refund_twice,
    ),
    PlantedBug(
        name="refund missing after an unmet WAIT",
        what="what too few replicas have is not refunded after the 503",
        promises=CHARGES,
        plant=forget_refund_of_unmet_wait,
    ),
    PlantedBug(
        name="success refunds nothing",
        what="a right code keeps the failures that it was charged",
        promises=CHARGES,
        plant=keep_charges_of_success,
    ),
    PlantedBug(
        name="wrong code refunds",
        what="a wrong code takes back the failures of its number",
        promises=CHARGES,
        plant=refund_wrong_code,
    ),
)
