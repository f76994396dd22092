"""The use case of operators about accounts: unlock one, at every factor.

`POST /v1/accounts/unlock` and the command line call the same method. The failures of an account are
counted for each tenant, because accounts are names that the tenant chose, and for each factor.
"""

from otp_service.core import charges, events
from otp_service.core.commit import Commit
from otp_service.core.factor import Factor
from otp_service.core.limits import Bucket
from otp_service.service.context import CallContext, Caller, Dependencies, Subject
from otp_service.service.optimistic_commit import commit_once


class AccountService:
    """Changes what is stored about accounts."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._random = dependencies.random

    async def unlock_account(self, caller: Caller, tenant: str, account: str) -> None:
        """Reset the failures of an account at a tenant, at every factor; its sends stay counted.

        The buckets of SMS are in the partition of the tenant, those of the other factors in that of
        the account, so two commits reset them. The first one has the event: a change without an
        event is worse than an event that is repeated after a failure between the two. Changes
        nothing for an unknown tenant or account, except that the event is written. Raises
        StoreUnavailable; a repeat resets the rest.
        """
        context = CallContext(self._dependencies, caller, Subject(account=account))
        fields = context.build_event_fields(
            tenant=tenant, reason="by_operator", by=caller.machine_user
        )
        others = tuple(factor for factor in Factor if factor is not Factor.SMS)
        account_buckets = _list_lock_buckets(tenant, account, *others)
        partition = self._store.get_account_partition(tenant, account)
        await self._reset_buckets(partition, account_buckets, events.Unlocked(**fields))
        sms_buckets = _list_lock_buckets(tenant, account, Factor.SMS)
        await self._reset_buckets(self._store.get_bucket_partition(sms_buckets[0]), sms_buckets)

    async def _reset_buckets(
        self, partition: int, buckets: tuple[Bucket, ...], event: events.Unlocked | None = None
    ) -> None:
        commit = Commit(
            partition=partition,
            operation_id=self._random.generate_operation_id(),
            reset_buckets=buckets,
            foldable_event=event,
            durable=True,
            requires_log_capacity=True,
        )
        await commit_once(self._store, commit)


def _list_lock_buckets(tenant: str, account: str, *factors: Factor) -> tuple[Bucket, ...]:
    listed = (charges.list_account_lock_buckets(tenant, account, factor) for factor in factors)
    return tuple(bucket for buckets in listed for bucket in buckets)
