"""The use case of operators about accounts: unlock one.

`POST /v1/accounts/unlock` and the command line call the same method. The failures of an account are
counted for each tenant, because accounts are names that the tenant chose.
"""

from otp_service.core import charges, events
from otp_service.core.ports import Commit
from otp_service.service.context import CallContext, Caller, Dependencies, Subject


class AccountService:
    """Changes what is stored about accounts."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._random = dependencies.random

    async def unlock_account(self, caller: Caller, tenant: str, account: str) -> None:
        """Reset the failures of an account at a tenant; its sends stay counted.

        Changes nothing for an unknown tenant or account, except that the event is written. Raises
        StoreUnavailable.
        """
        context = CallContext(self._dependencies, caller, Subject(account=account))
        fields = context.build_event_fields(tenant=tenant, reason="by_operator")
        reset_buckets = charges.list_account_lock_buckets(tenant, account)
        commit = Commit(
            partition=self._store.get_bucket_partition(reset_buckets[0]),
            operation_id=self._random.generate_operation_id(),
            reset_buckets=reset_buckets,
            foldable_event=events.Unlocked(**fields),
            durable=True,
            requires_log_capacity=True,
        )
        await self._store.commit(commit)
