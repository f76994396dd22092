"""Messages from phones: STOP, START and HELP change the do-not-send list; all others are counted.

The text is compared with the keywords, and goes no further: it may hold a code (core/inbound.py). Most
messages have no keyword, and cost no round trip. One with a keyword costs one, and a change another.
"""

from msgspec.structs import replace

from otp_service.core.do_not_send import ALL_TENANTS, ReceivedMessage
from otp_service.core.errors import StoreUnavailable
from otp_service.core.inbound import InboundMessage, InboundResult, Keyword
from otp_service.core.inbound_decision import (
    AnsweredSender,
    HelpRequest,
    NoChange,
    OptIn,
    OptOut,
    decide_inbound,
)
from otp_service.core.opt_out_scope import choose_scope, normalize_own_number
from otp_service.core.phone_number import PhoneNumber, parse_sender_number
from otp_service.service.context import Caller, Dependencies
from otp_service.service.numbers import NumberService
from otp_service.service.optimistic_commit import MAX_CONFLICTS


class InboundHandler:
    """Handles the messages that one provider passes on, for one caller."""

    def __init__(
        self, dependencies: Dependencies, numbers: NumberService, caller: Caller, provider: str
    ) -> None:
        self._dependencies = dependencies
        self._numbers = numbers
        self._caller = caller
        self._provider = provider

    async def handle_message(self, message: InboundMessage) -> InboundResult:
        """Apply a message, and return what came of it.

        Raises StoreUnavailable, also after MAX_CONFLICTS conflicts: the provider has to bring it again.
        """
        keyword = self._dependencies.keywords.find(message.text)
        if keyword is None:
            return InboundResult.OTHER
        allow_fictitious = self._dependencies.allow_fictitious
        phone = parse_sender_number(message.sender, allow_fictitious=allow_fictitious)
        if phone is None:
            return InboundResult.INVALID_SENDER
        sender = self._find_answered_sender(message)
        for _ in range(MAX_CONFLICTS):
            result = await self._try_once(phone, keyword, sender, message.id)
            if result is not None:
                return result
        raise StoreUnavailable

    def _find_answered_sender(self, message: InboundMessage) -> AnsweredSender:
        scopes = self._dependencies.opt_out_scopes
        own_number = normalize_own_number(message.receiver)
        scope = choose_scope(scopes, own_number)
        is_only_tenant = scope == scopes.only_tenant != ALL_TENANTS
        return AnsweredSender(self._provider, own_number, scope, is_only_tenant)

    async def _try_once(
        self, phone: PhoneNumber, keyword: Keyword, sender: AnsweredSender, message_id: str
    ) -> InboundResult | None:
        """Decide and apply a message; return None if another change came first."""
        state = await self._numbers.read_inbound_state(phone, keyword, sender, message_id)
        decision = decide_inbound(keyword, sender, state)
        if isinstance(decision, NoChange):
            if decision.result is InboundResult.UNCHANGED:
                # It may repeat a message that was answered 503 because too few replicas had its change.
                await self._numbers.confirm_state(phone)
            return decision.result
        message = ReceivedMessage(sender.provider, message_id, state.now, state.processed)
        return await self._apply(decision, phone, sender, message)

    async def _apply(
        self,
        decision: OptOut | OptIn | HelpRequest,
        phone: PhoneNumber,
        sender: AnsweredSender,
        message: ReceivedMessage,
    ) -> InboundResult | None:
        caller = self._select_tenant(decision.tenant)
        match decision:
            case OptOut():
                is_done = await self._numbers.opt_out_number(caller, phone, sender, message)
                result = InboundResult.OPTED_OUT
            case OptIn():
                is_done = await self._numbers.opt_in_number(
                    caller, phone, sender, decision.opt_outs, message
                )
                result = InboundResult.OPTED_IN
            case HelpRequest():
                is_done = await self._numbers.record_help_request(caller, phone, sender, message)
                result = InboundResult.HELP
        return result if is_done else None

    def _select_tenant(self, tenant: str) -> Caller:
        """Return the caller for the tenant that events name; none for ALL_TENANTS."""
        if tenant == ALL_TENANTS:
            return self._caller
        return replace(self._caller, tenant=self._dependencies.tenants[tenant])
