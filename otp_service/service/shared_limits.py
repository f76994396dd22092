"""Buckets outside of the number's partition: those of the caller, and those that all callers share.

Each charge is named before it is applied, by the `Refund` that reverses it. So it can be refunded
also if the store fails and it is unknown whether it was applied.
"""

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from otp_service.core.charges import build_account_lock_check, build_success_refund
from otp_service.core.commit import Commit, Refund
from otp_service.core.errors import OtpError, StoreUnavailable
from otp_service.core.known_addresses import Account, KnownAddresses
from otp_service.core.limits import CONSECUTIVE_LIMITS, Bucket, Charge, Limit
from otp_service.core.ports import Store
from otp_service.core.pumping.commits import DebtCommit, DebtRefund, DebtSettlement
from otp_service.core.random_source import RandomSource
from otp_service.core.tenant import Tenant
from otp_service.service.optimistic_commit import commit_once
from otp_service.service.pending_refunds import PendingRefunds, apply_all


T = TypeVar("T")


class SharedLimits:
    """Charges and refunds buckets that are not in the partition of a number."""

    def __init__(self, store: Store, random: RandomSource, pending_refunds: PendingRefunds) -> None:
        self._store = store
        self._random = random
        self._pending_refunds = pending_refunds

    def name_charges(self, charges: Sequence[Charge]) -> tuple[Refund, ...]:
        """Return the refunds of charges in one partition, which one commit applies."""
        operation_id = self._random.generate_operation_id()
        return tuple(Refund(charge, operation_id) for charge in charges)

    def build_charge_commit(
        self,
        named: Sequence[Refund],
        known_addresses_of: Account | None = None,
        debts: DebtCommit | None = None,
    ) -> Commit:
        """Return the commit that applies all of these charges and debts, or none of them."""
        return Commit(
            partition=self._store.get_bucket_partition(named[0].charge.bucket),
            operation_id=named[0].operation_id,
            charges=tuple(refund.charge for refund in named),
            known_addresses_of=known_addresses_of,
            debts=debts,
        )

    def build_debt_commit(self, debts: DebtCommit, operation_id: str) -> Commit:
        """Return the commit of debts of the partition that all callers share, by themselves."""
        return Commit(partition=self._shared_partition, operation_id=operation_id, debts=debts)

    def build_settlement_commit(self, settlement: DebtSettlement, operation_id: str) -> Commit:
        """Return the commit of repayments in the partition that all callers share."""
        return Commit(
            partition=self._shared_partition, operation_id=operation_id, settlement=settlement
        )

    async def charge_caller(self, named: Sequence[Refund]) -> None:
        """Apply every charge to the caller's own buckets, or none of them.

        Raises the error of a refusal.
        """
        await commit_once(self._store, self.build_charge_commit(named))

    async def check_account_lock(self, tenant: Tenant, account: str | None) -> None:
        """Raise AccountLocked if the account is locked. Nothing is charged."""
        if account is not None:
            lock_check = build_account_lock_check(tenant, account)
            await self.charge_caller(self.name_charges((lock_check,)))

    async def await_or_refund(self, call: Awaitable[T], refunds: Sequence[Refund]) -> T:
        """Return the result of the call. If an OtpError refuses it, refund and raise the error.

        After StoreUnavailable the store does not answer: `PendingRefunds` has the refund.
        """
        try:
            return await call
        except StoreUnavailable:
            raise
        except OtpError:
            await self.refund_refused(refunds)
            raise

    async def refund_refused(self, refunds: Sequence[Refund]) -> None:
        """Refund what a refused call was charged. `PendingRefunds` has it if too few replicas do.

        A master that is being replaced may refuse a call whose charge the next master has.
        """
        await self._pending_refunds.apply(partial(self.refund, refunds, durable=True))

    async def settle_success(
        self,
        refunds: Sequence[Refund],
        known: tuple[Account, KnownAddresses] | None = None,
        *,
        durable: bool = False,
    ) -> None:
        """Take back what an attempt of the caller was charged, after a correct code.

        The count of consecutive failures is reset, and the known addresses are stored. `refunds` are
        those of one commit. A failover that loses this is strict: it keeps failures that were none, and
        with them an account may be locked.
        """
        kept, reset_buckets = [], []
        for refund in refunds:
            if refund.charge.bucket.limit in CONSECUTIVE_LIMITS:
                reset_buckets.append(refund.charge.bucket)
            else:
                success_refund = build_success_refund(refund.charge)
                kept.append(msgspec.structs.replace(refund, charge=success_refund))
        commit = self._build_refund_commit(kept[0].operation_id, tuple(kept))
        settled = msgspec.structs.replace(
            commit,
            reset_buckets=tuple(reset_buckets),
            new_known_addresses=known,
            durable=durable,
        )
        await self._store.commit(settled)

    async def refund(
        self,
        refunds: Sequence[Refund],
        debt_refunds: Sequence[DebtRefund] = (),
        *,
        durable: bool = False,
    ) -> None:
        """Apply each refund, once: its operation id is derived from that of the charge.

        `debt_refunds` are of the partition that all callers share.
        """
        commits = [
            msgspec.structs.replace(commit, durable=durable)
            for commit in self._build_refund_commits(refunds, debt_refunds)
        ]
        if durable:
            await apply_all(*map(self._store.commit, commits))
        elif commits:
            await self._store.commit_all(commits)

    def _build_refund_commits(
        self, refunds: Sequence[Refund], debt_refunds: Sequence[DebtRefund]
    ) -> list[Commit]:
        """Return the reversal of each commit, of its charges and its debts at once."""
        charged = [refund for refund in refunds if refund.charge.cost]
        ids = [*(one.operation_id for one in charged), *(one.operation_id for one in debt_refunds)]
        return [
            self._build_refund_commit(
                operation_id,
                tuple(one for one in charged if one.operation_id == operation_id),
                tuple(one for one in debt_refunds if one.operation_id == operation_id),
            )
            for operation_id in dict.fromkeys(ids)
        ]

    def _build_refund_commit(
        self,
        operation_id: str,
        refunds: tuple[Refund, ...],
        debt_refunds: tuple[DebtRefund, ...] = (),
    ) -> Commit:
        """Return the reversal of one commit."""
        partition = self._shared_partition
        if refunds:
            partition = self._store.get_bucket_partition(refunds[0].charge.bucket)
        return Commit(
            partition=partition,
            operation_id=f"undo-{operation_id}",
            refunds=refunds,
            debt_refunds=debt_refunds,
        )

    @property
    def _shared_partition(self) -> int:
        """The partition of countries and of the whole service."""
        return self._store.get_bucket_partition(Bucket(Limit.SENDS_OVERALL))
