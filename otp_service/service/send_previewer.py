"""What the next send to a number would get: `otp-service why`. It changes nothing.

The commits are those of a send, and the store decides them with the code that decides a send
(`Store.inspect`). So neither the charges nor their arithmetic are written again.
"""

from collections.abc import Collection, Sequence
from typing import Final

from msgspec.structs import replace

from otp_service.core.challenge import build_delivery_id
from otp_service.core.commit import Blocked, Commit, Inspection
from otp_service.core.do_not_send import ALL_TENANTS, DoNotSendReason, StoredOptOut
from otp_service.core.errors import NumberNotAllowed
from otp_service.core.phone_number import PhoneNumber, classify_number
from otp_service.core.send_preview import SendInspections, SendPreview, build_preview
from otp_service.core.tenant import Tenant
from otp_service.service.context import (
    UNKNOWN_CHALLENGE,
    CallContext,
    Caller,
    ChallengeRef,
    Dependencies,
    Subject,
)
from otp_service.service.send_admission import check_destination
from otp_service.service.send_charger import SendCharger


SendCommits = tuple[Commit, Commit, Commit]

DELIVERY_REFERENCE: Final = ChallengeRef(build_delivery_id(0, bytes(16)))
"""What is inspected has no id yet. This one shows that it is a delivery."""


class SendPreviewer:
    """Says of each tenant what its next send to a number would get."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._registry = dependencies.number_registry

    async def preview_sends(
        self,
        caller: Caller,
        subject: Subject,
        tenants: Sequence[Tenant],
        delivering: Collection[str] = (),
    ) -> list[SendPreview]:
        """Return the preview of an issue of each tenant, in their order; of `delivering` of a delivery.

        The subject has a number. A limit for each account or address is included if the subject has
        one. Raises StoreUnavailable.
        """
        phone = subject.phone
        assert phone is not None
        refused = self._find_disallowed(phone, tenants)
        allowed = [tenant for tenant in tenants if tenant.name not in refused]
        commits = [
            self._build_commits(
                caller, subject, phone, tenant, is_delivery=tenant.name in delivering
            )
            for tenant in allowed
        ]
        inspected = await self._inspect(commits)
        inspections = {tenant.name: each for tenant, each in zip(allowed, inspected, strict=True)}
        opt_outs = await self._read_opt_outs(phone, inspections)
        previews = (
            refused.get(tenant.name)
            or build_preview(
                tenant.name,
                inspections[tenant.name],
                tuple(one for one in opt_outs if one.tenant in {ALL_TENANTS, tenant.name}),
            )
            for tenant in tenants
        )
        return [replace(one, is_delivery=one.tenant in delivering) for one in previews]

    def _find_disallowed(
        self, phone: PhoneNumber, tenants: Sequence[Tenant]
    ) -> dict[str, SendPreview]:
        """Return the previews of tenants that may not send to the number, whatever is stored."""
        _, reason = classify_number(phone.e164)
        refused = {}
        for tenant in tenants:
            try:
                check_destination(self._dependencies, phone, reason, tenant)
            except NumberNotAllowed as error:
                refused[tenant.name] = SendPreview(tenant.name, error)
        return refused

    def _build_commits(
        self,
        caller: Caller,
        subject: Subject,
        phone: PhoneNumber,
        tenant: Tenant,
        *,
        is_delivery: bool,
    ) -> SendCommits:
        """Return the commits of a send of the tenant, as an issue or a delivery has them."""
        reference = DELIVERY_REFERENCE if is_delivery else UNKNOWN_CHALLENGE
        sender = replace(caller, tenant=tenant).select_limits(phone)
        context = CallContext(self._dependencies, sender, subject, reference)
        charger = SendCharger(self._dependencies, context, phone)
        return charger.build_commits(charger.plan())

    async def _inspect(self, commits: Sequence[SendCommits]) -> list[SendInspections]:
        """Return the inspections of each send.

        What all share is inspected again where the record of the number exempts the send, now or
        later: each commit is decided as if the others were not there.
        """
        inspected = iter(await self._store.inspect([one for each in commits for one in each]))
        sends = [
            SendInspections(*each) for each in zip(inspected, inspected, inspected, strict=True)
        ]
        exempt = [i for i, send in enumerate(sends) if send.number.exempt_time is not None]
        shared = [_exempt_commit(commits[i][2], sends[i].number) for i in exempt]
        for index, inspection in zip(exempt, await self._store.inspect(shared), strict=True):
            sends[index] = replace(sends[index], shared=inspection)
        return sends

    async def _read_opt_outs(
        self, phone: PhoneNumber, inspections: dict[str, SendInspections]
    ) -> tuple[StoredOptOut, ...]:
        """Return the opt-outs of the number, if one of the sends is refused by one."""
        opted_out = Blocked(DoNotSendReason.OPTED_OUT)
        if all(one.number.refusal != opted_out for one in inspections.values()):
            return ()
        return await self._registry.read_opt_outs(phone, tenants=inspections)


def _exempt_commit(shared: Commit, number: Inspection) -> Commit:
    """Return the commit of what all share, for a number that is known."""
    assert shared.debts is not None
    debts = replace(
        shared.debts,
        is_uncharged=number.is_exempt,
        is_exempt=number.is_exempt,
        exempt_time=number.exempt_time,
    )
    return replace(shared, debts=debts)
