"""The repayment of what the sends of a challenge were charged, once it has verified."""

from functools import partial

from otp_service.core.challenge import ChallengeSecret
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pumping.commits import DebtSettlement
from otp_service.service.brake import SettlementPlan
from otp_service.service.context import Dependencies, Subject
from otp_service.service.optimistic_commit import CommitResult
from otp_service.service.shared_limits import SharedLimits


class DebtSettler:
    """Repays the debts of a challenge of one tenant: those of its number, then those that all share.

    The first part is in the commit that accepts the code. The second part depends on its reply and
    waits for nothing: a caller has its answer before, and what is lost with the process stays a debt
    until it expires.
    """

    def __init__(self, dependencies: Dependencies, tenant: str, phone: PhoneNumber) -> None:
        self._brake = dependencies.brake
        self._store = dependencies.store
        self._refunds = dependencies.refunds
        self._shared_limits = SharedLimits(
            dependencies.store, dependencies.random, dependencies.refunds
        )
        self._tenant = tenant
        self._phone = phone

    def build_number_settlement(self, secret: ChallengeSecret) -> DebtSettlement | None:
        """Return the repayment of the range, after which the number is known."""
        return self._plan(secret).number

    def settle_shared(self, secret: ChallengeSecret, accepted: CommitResult) -> None:
        """Start the repayment of the other scopes; `accepted` is the commit of the number's part.

        Its operation id is derived from that one, so that it applies once.
        """
        settlement = self._plan(secret).build_shared(accepted.committed)
        if settlement is None:
            return
        commit = self._shared_limits.build_settlement_commit(
            settlement, f"settle-{accepted.commit.operation_id}"
        )
        self._refunds.apply_later(partial(self._store.commit, commit))

    def _plan(self, secret: ChallengeSecret) -> SettlementPlan:
        """Return the repayments, without what was charged under another limit key.

        That is in other buckets: from these it would take what others owe.
        """
        sender = Subject.from_request(None, None, secret.client_ip)
        key_id = self._store.limit_key_id
        debts = [debt for debt in secret.debts if debt.limit_key_id == key_id]
        return self._brake.plan_settlement(self._tenant, self._phone, sender.client_ip_key, debts)
