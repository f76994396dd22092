"""Messages from phones on a real Redis: STOP, START and HELP, and what each of them leaves there."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.core.commit import Commit, CommitOutcome
from otp_service.core.do_not_send import DoNotSendEntry
from otp_service.core.errors import NotReplicated, NumberNotAllowed, StoreUnavailable
from otp_service.core.inbound import InboundMessage, InboundResult
from otp_service.core.opt_out_scope import OptOutScopes
from otp_service.core.phone_number import parse_number
from otp_service.service import Caller
from tests.installation import DAY_MS, MINUTE_MS, Installation, gather_results
from tests.service.test_commit_guards import lose_replicas
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy


ONE, OTHER = "+447400123456", "+447400123457"
SHOP_OWN, BANK_OWN, SHARED_OWN = "+447400999001", "447400999002", "+447400999009"
CANARY = "your code is 471093"
CALLER = Caller.without_tenant("callback-p1", "request-1")


class Phone:
    """A person who answers messages of the installation."""

    def __init__(self, installation: Installation, number: str = ONE) -> None:
        self.installation = installation
        self.number = number

    async def receive_code(self, tenant: str = "shop") -> None:
        """Let a provider submit a message, after the cooldown."""
        self.installation.advance_clock(MINUTE_MS)
        await self.installation.issue(self.number, tenant=tenant)

    async def answer(
        self, text: str, own_number: str = SHOP_OWN, *, provider: str = "p1", **fields: Any
    ) -> InboundResult:
        sender = fields.pop("sender", self.number)
        message = InboundMessage(sender, text, own_number, **fields)
        return await self.installation.service.handle_inbound(CALLER, provider, message)

    async def find_refusals(self) -> list[str | None]:
        """Return why an issue of each tenant is refused."""
        return [await self.find_refusal(tenant) for tenant in ("shop", "bank")]

    async def find_refusal(self, tenant: str) -> str | None:
        try:
            await self.receive_code(tenant)
        except NumberNotAllowed as refusal:
            return refusal.reason_code
        return None

    async def list_events(self) -> list[dict[str, Any]]:
        """Return the events of messages from phones, without what every event has."""
        found = [e for e in await self.installation.read_events() if "own_number" in e]
        names = ("type", "tenant", "provider", "own_number", "keyword", "number_suffix", "key_id")
        return [{name: event.get(name) for name in names} for event in found]


@pytest.fixture
def phone(installation: Installation) -> Phone:
    return Phone(installation)


async def test_stop_opts_out_of_the_tenant_and_start_opts_in(phone: Phone) -> None:
    """The next code is refused with the reason, costs nothing, and each change is one event."""
    await phone.receive_code()

    assert InboundResult.OPTED_OUT == await phone.answer("Stop!")
    assert ["opted_out", None] == await phone.find_refusals()
    assert InboundResult.OPTED_IN == await phone.answer("START")
    assert [None, None] == await phone.find_refusals()
    shared = {
        "tenant": "shop",
        "provider": "p1",
        "own_number": SHOP_OWN[1:],
        "key_id": "callback-p1",
    }
    assert [
        {"type": "number.opted_out", "keyword": "stop", "number_suffix": "56", **shared},
        {"type": "number.opted_in", "keyword": "start", "number_suffix": "56", **shared},
    ] == await phone.list_events()


async def test_a_refused_send_costs_nothing(phone: Phone) -> None:
    """R57: after more refusals than the limits of a number allow sends, START lets the next one through."""
    await phone.receive_code()
    await phone.answer("STOP")

    refusals = [await phone.find_refusal("shop") for _ in range(12)]
    await phone.answer("START")

    assert ["opted_out"] * 12 == refusals
    assert None is await phone.find_refusal("shop")
    assert 2 == len(phone.installation.router.messages)
    denied = [e for e in await phone.installation.read_events() if e["type"] == "otp.issue_denied"]
    assert {("opted_out", "shop")} == {(event["reason"], event["tenant"]) for event in denied}


async def test_a_delivery_and_a_resend_to_an_opted_out_number_are_refused_too(phone: Phone) -> None:
    """Whatever sends the code: the person wants no message of this tenant."""
    phone.installation.advance_clock(MINUTE_MS)
    issued = await phone.installation.issue(phone.number)
    await phone.answer("STOP")
    phone.installation.advance_clock(MINUTE_MS)

    for call in (
        phone.installation.deliver(number=phone.number),
        phone.installation.resend(issued),
    ):
        with pytest.raises(NumberNotAllowed) as refusal:
            await call
        assert "opted_out" == refusal.value.reason_code
    assert 1 == len(phone.installation.router.messages)
    assert await phone.installation.deliver(number=phone.number, tenant="bank")


async def test_a_stop_to_a_shared_number_is_for_all_tenants(phone: Phone) -> None:
    """Any of them may have sent the message; START ends it for all of them."""
    await phone.receive_code()

    assert InboundResult.OPTED_OUT == await phone.answer("stop", SHARED_OWN)
    assert ["opted_out", "opted_out"] == await phone.find_refusals()
    assert InboundResult.OPTED_IN == await phone.answer("start", SHARED_OWN)
    assert [None, None] == await phone.find_refusals()
    assert [None, None] == [event["tenant"] for event in await phone.list_events()]


async def test_the_opt_outs_of_two_tenants_are_lifted_one_by_one(phone: Phone) -> None:
    """R58: a START to one sender says nothing about the other."""
    await phone.receive_code()
    for own_number in (SHOP_OWN, BANK_OWN):
        assert InboundResult.OPTED_OUT == await phone.answer("STOP", own_number)
    assert ["opted_out", "opted_out"] == await phone.find_refusals()

    assert InboundResult.OPTED_IN == await phone.answer("START", BANK_OWN)

    assert ["opted_out", None] == await phone.find_refusals()


async def test_start_does_not_lift_a_block_of_an_operator(phone: Phone) -> None:
    """Nor does a STOP between the two make a difference."""
    await phone.receive_code()
    numbers = phone.installation.service.numbers
    await numbers.block_number(CALLER, parse_number(phone.number))

    assert InboundResult.UNCHANGED == await phone.answer("START")
    assert ["blocked", "blocked"] == await phone.find_refusals()
    assert InboundResult.OPTED_OUT == await phone.answer("STOP")
    assert InboundResult.OPTED_IN == await phone.answer("START")
    assert ["blocked", "blocked"] == await phone.find_refusals()


async def test_an_operator_lifts_blocks_and_opt_outs_at_once(phone: Phone) -> None:
    """Of all tenants, whatever the person has answered."""
    await phone.receive_code()
    for own_number in (SHOP_OWN, BANK_OWN, SHARED_OWN):
        await phone.answer("STOP", own_number)
    numbers = phone.installation.service.numbers
    await numbers.block_number(CALLER, parse_number(phone.number))

    await numbers.unblock_number(CALLER, parse_number(phone.number))

    assert [None, None] == await phone.find_refusals()


async def test_help_is_an_event_and_changes_nothing(phone: Phone) -> None:
    """The service answers no message from a phone."""
    await phone.receive_code()
    sent = len(phone.installation.router.messages)

    assert InboundResult.HELP == await phone.answer("help?")

    assert sent == len(phone.installation.router.messages)
    (event,) = await phone.list_events()
    assert ("number.help_requested", "help") == (event["type"], event["keyword"])
    assert [None, None] == await phone.find_refusals()


@pytest.mark.parametrize("text", ["Stop it!", CANARY, "", "stop " * 40, "HELP ME"])
async def test_another_message_writes_and_reads_nothing(
    remote: Installation, proxy: FaultyProxy, text: str
) -> None:
    """It costs no round trip, so that a flood of them does not reach Redis."""
    phone = Phone(remote)
    await phone.receive_code()
    proxy.batches.clear()

    assert InboundResult.OTHER == await phone.answer(text)

    assert [] == proxy.batches


@pytest.mark.parametrize(
    ("texts", "trips"), [(["STOP"], 2), (["STOP", "STOP"], 3), (["START"], 1), (["HELP"], 2)]
)
async def test_a_keyword_costs_one_round_trip_and_a_change_another(
    remote: Installation, proxy: FaultyProxy, texts: list[str], trips: int
) -> None:
    """The vendor waits for the answer, Telnyx for two seconds."""
    phone = Phone(remote)
    await phone.receive_code()
    await Phone(remote, OTHER).answer("STOP")  # the first read of a server loads its script, too
    proxy.batches.clear()

    for text in texts:
        await phone.answer(text)

    assert trips == proxy.count_sequential_trips()


@pytest.mark.parametrize(
    ("sender", "result"),
    [
        (ONE[1:], InboundResult.OPTED_OUT),
        (f" {ONE[1:]}", InboundResult.OPTED_OUT),  # a plus in a query
        ("12345", InboundResult.INVALID_SENDER),
        ("Example", InboundResult.INVALID_SENDER),
        ("", InboundResult.INVALID_SENDER),
        ("07400123456", InboundResult.INVALID_SENDER),
        ("+442079460958", InboundResult.INVALID_SENDER),  # a landline
        (f"+{ONE}", InboundResult.INVALID_SENDER),
        ("9" * 100_000, InboundResult.INVALID_SENDER),
    ],
)
async def test_only_the_number_of_a_phone_counts_as_sender(
    phone: Phone, sender: str, result: InboundResult
) -> None:
    """Most providers leave out the plus; a short code or a name is not repaired."""
    await phone.receive_code()

    assert result == await phone.answer("STOP", sender=sender)


@pytest.mark.parametrize(
    ("number", "sender"),
    [
        (ONE, "00447400123456"),
        ("+5491123456789", "541123456789"),
        ("+5491123456789", "5491123456789"),
        ("+525512345678", "+5215512345678"),
        ("+525512345678", "525512345678"),
        ("+38344123456", "37744123456"),
    ],
)
async def test_an_operators_spelling_of_a_number_is_that_phone(
    installation: Installation, number: str, sender: str
) -> None:
    """R36: its person gets no further code, and the list has the number that codes are sent to."""
    phone = Phone(installation, number)
    await phone.receive_code()

    assert InboundResult.OPTED_OUT == await phone.answer("STOP", sender=sender)
    assert "opted_out" == await phone.find_refusal("shop")
    numbers = installation.service.numbers
    (listed,) = await numbers.list_opted_out_numbers(lambda *_: None)
    assert isinstance(listed.entry, DoNotSendEntry)
    assert parse_number(number).canonical == parse_number(listed.entry.number).canonical


@pytest.mark.parametrize("keyword", ["STOP", "START", "HELP"])
@pytest.mark.parametrize("provider", ["p1", "p2"])
async def test_a_keyword_is_unexpected_unless_this_provider_sent_to_the_number(
    phone: Phone, keyword: str, provider: str
) -> None:
    """A sender can be forged, also in a signed callback: no key, no event, no effect."""
    await phone.receive_code()
    stranger = Phone(phone.installation, OTHER if provider == "p1" else ONE)
    keys = await phone.installation.list_keys()

    assert InboundResult.UNEXPECTED == await stranger.answer(keyword, provider=provider)

    assert set() == {*await phone.installation.list_keys()} - {*keys}
    assert [] == await phone.list_events()
    assert [None, None] == await stranger.find_refusals()


SENDS = {
    "issue": lambda phone, _: phone.installation.issue(phone.number),
    "resend": lambda phone, issued: phone.installation.resend(issued),
    "deliver": lambda phone, _: phone.installation.deliver(number=phone.number),
}


@pytest.mark.parametrize("send", SENDS)
async def test_a_stop_counts_before_the_provider_has_answered(phone: Phone, send: str) -> None:
    """The message arrives within seconds, and the provider may take ten for its answer."""
    results = await answer_during_send(phone, send)

    assert [InboundResult.OPTED_OUT] == results
    assert "opted_out" == await phone.find_refusal("shop")


@pytest.mark.parametrize("send", SENDS)
async def test_a_stop_after_the_charge_of_a_send_still_ends_it(
    phone: Phone, send: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its code is hashed, or waits for that: nothing is sent, and every charge is refunded."""
    issued = await phone.installation.issue(phone.number)
    phone.installation.advance_clock(MINUTE_MS)
    store, commit = phone.installation.store, phone.installation.store.commit
    results = []

    async def answer_before_it_is_stored(request: Commit) -> CommitOutcome:
        if not request.swap:
            return await commit(request)
        monkeypatch.setattr(store, "commit", commit)
        results.append(await phone.answer("STOP"))
        return await commit(request)

    monkeypatch.setattr(store, "commit", answer_before_it_is_stored)
    with pytest.raises(NumberNotAllowed) as refusal:
        await SENDS[send](phone, issued)

    assert [InboundResult.OPTED_OUT] == results
    assert "opted_out" == refusal.value.reason_code
    assert 1 == len(phone.installation.router.messages)
    assert InboundResult.OPTED_IN == await phone.answer("START")
    await SENDS[send](phone, issued)  # within the cooldown, if it had not been refunded
    assert 2 == len(phone.installation.router.messages)
    denied = "delivery.denied" if send == "deliver" else "otp.issue_denied"
    events = await phone.installation.read_events()
    assert ["opted_out"] == [event["reason"] for event in events if event["type"] == denied]


@pytest.mark.parametrize("send", SENDS)
async def test_a_stop_counts_although_the_worker_ended_during_the_send(
    phone: Phone, send: str
) -> None:
    """What the provider answered is then never stored, and the person has the message."""
    with pytest.raises(asyncio.CancelledError):
        await answer_during_send(phone, send, then=asyncio.CancelledError())

    assert InboundResult.OPTED_OUT == await phone.answer("STOP", provider="p2")


async def answer_during_send(
    phone: Phone, send: str, then: BaseException | None = None
) -> list[InboundResult]:
    """Answer STOP to the first message of this phone, before its provider answers or the call ends."""
    installation, results, issued = phone.installation, [], None
    if send == "resend":
        issued = await installation.issue(phone.number)
        for key in await installation.list_keys("*:submitted:*"):
            await installation.script_client.run_pipeline(key.decode(), [("DEL", key)])
        installation.advance_clock(MINUTE_MS)

    async def answer() -> None:
        if then:
            raise then
        results.append(await phone.answer("STOP"))

    installation.router.on_send = answer
    await SENDS[send](phone, issued)
    return results


async def test_a_thousand_forged_stops_write_nothing(installation: Installation) -> None:
    """A19: of numbers that nothing was sent to, through a provider that is trusted."""
    await Phone(installation).receive_code()
    keys, types = await installation.list_keys(), await installation.list_event_types()

    results = [
        await Phone(installation, f"+4474{10 + i // 100:02d}{i % 100:02d}3456").answer("STOP")
        for i in range(1000)
    ]

    assert {InboundResult.UNEXPECTED} == set(results)
    assert set() == {*await installation.list_keys()} - {*keys}  # some expire meanwhile
    assert types == await installation.list_event_types()


async def test_a_keyword_counts_for_thirty_days(phone: Phone) -> None:
    """After that its number may have another owner, or the message was forged."""
    await phone.receive_code()
    client = phone.installation.script_client
    (mark,) = await phone.installation.list_keys("*:submitted:p1:*")
    ((left,),) = [await client.run_pipeline(mark.decode(), [("PTTL", mark)])]
    assert 30 * DAY_MS - MINUTE_MS < left <= 30 * DAY_MS
    assert InboundResult.HELP == await phone.answer("HELP")

    await client.run_pipeline(mark.decode(), [("PEXPIRE", mark, 1)])
    await asyncio.sleep(0.01)  # Redis's own clock has to pass

    assert InboundResult.UNEXPECTED == await phone.answer("STOP")


async def test_a_repeated_stop_changes_nothing_also_after_a_start(phone: Phone) -> None:
    """Vendors repeat a callback for a day; without an id the state makes repeats harmless."""
    await phone.receive_code()

    assert InboundResult.OPTED_OUT == await phone.answer("STOP", id="m-1")
    assert InboundResult.UNCHANGED == await phone.answer("STOP", id="m-1")
    assert InboundResult.UNCHANGED == await phone.answer("STOP")
    assert InboundResult.OPTED_IN == await phone.answer("START", id="m-2")
    assert InboundResult.UNCHANGED == await phone.answer("STOP", id="m-1")
    assert InboundResult.UNCHANGED == await phone.answer("START")
    assert [None, None] == await phone.find_refusals()
    assert InboundResult.OPTED_OUT == await phone.answer("STOP", id="m-3")
    assert 3 == len(await phone.list_events())


async def test_a_help_is_recorded_once_for_each_message(phone: Phone) -> None:
    """A repeat has the same id."""
    await phone.receive_code()

    results = [await phone.answer("HELP", id=id_) for id_ in ("m-1", "m-1", "m-2")]

    assert [InboundResult.HELP, InboundResult.UNCHANGED, InboundResult.HELP] == results
    assert 2 == len(await phone.list_events())


async def test_simultaneous_messages_make_each_change_once(phone: Phone) -> None:
    """Twenty STOPs of one phone are one opt-out with one event, and twenty STARTs one lift."""
    await phone.receive_code()

    for text, result in (("STOP", InboundResult.OPTED_OUT), ("START", InboundResult.OPTED_IN)):
        results = await gather_results(*(phone.answer(text) for _ in range(20)))

        assert (1, 19) == (results.count(result), results.count(InboundResult.UNCHANGED))
    assert 2 == len(await phone.list_events())


async def test_stops_and_starts_at_once_leave_one_state_that_the_events_explain(
    phone: Phone,
) -> None:
    """Whichever came last: what is refused is what the last event says."""
    await phone.receive_code()

    results = await gather_results(*(phone.answer(text) for text in ("STOP", "START") * 10))

    assert {InboundResult.OPTED_OUT, InboundResult.OPTED_IN, InboundResult.UNCHANGED} >= set(
        results
    )
    changes = [event["type"] for event in await phone.list_events()]
    assert ["number.opted_out", "number.opted_in"] * 10 >= changes[:1]
    assert all(one != following for one, following in pairwise(changes))
    expected = "opted_out" if changes[-1] == "number.opted_out" else None
    assert expected == (await phone.find_refusals())[0]


async def test_alternating_keywords_are_folded(phone: Phone) -> None:
    """R65: a sender that alternates STOP and START displaces no event of another number."""
    await phone.receive_code()

    for _ in range(30):
        assert InboundResult.OPTED_OUT == await phone.answer("STOP")
        assert InboundResult.OPTED_IN == await phone.answer("START")

    assert 20 == len(await phone.list_events())


async def test_a_message_is_refused_while_redis_is_down_and_counts_when_it_is_repeated(
    remote: Installation, proxy: FaultyProxy
) -> None:
    """The provider has to bring it again, and the error shows neither text nor number."""
    phone = Phone(remote)
    await phone.receive_code()
    proxy.fail_next(ConnectionFailure.LOST_REQUEST, times=100)

    with pytest.raises(StoreUnavailable) as refused:
        await phone.answer("STOP", id="m-1")

    shown = f"{refused.value!r} {refused.value} {refused.value.cause}"
    assert not [each for each in (ONE, "STOP", SHOP_OWN[1:]) if each in shown]
    proxy.clear_failures()
    assert InboundResult.OPTED_OUT == await phone.answer("STOP", id="m-1")


@pytest.mark.parametrize("message_id", ["id-1", ""], ids=["id", "no-id"])
@pytest.mark.parametrize("text", ["STOP", "START", "HELP"])
async def test_a_repeat_is_answered_only_once_replicas_have_the_change(
    phone: Phone, text: str, message_id: str
) -> None:
    """R79: the first call was 503, and has made the change. A failover must not undo it after a 2xx."""
    await phone.receive_code()
    if text == "START":
        await phone.answer("STOP")
    client = phone.installation.script_client
    lose_replicas(phone.installation)

    for _ in range(3):
        with pytest.raises(NotReplicated):
            await phone.answer(text, id=message_id)
    phone.installation.store.client = client
    repeat = await phone.answer(text, id=message_id)

    expected = InboundResult.HELP if (text, message_id) == ("HELP", "") else InboundResult.UNCHANGED
    assert expected == repeat


async def test_a_repeated_import_is_reported_only_once_replicas_have_it(
    installation: Installation,
) -> None:
    """The same, for an operator who repeats the line."""
    number = parse_number(ONE)
    numbers, entry = installation.service.numbers, DoNotSendEntry(ONE, 1)
    lose_replicas(installation)

    for _ in range(2):
        with pytest.raises(NotReplicated):
            await numbers.import_opt_out(CALLER, number, entry)


async def test_start_to_one_of_two_tenants_leaves_an_opt_out_from_all(phone: Phone) -> None:
    """R58: it would end that of the other one, too."""
    await phone.receive_code()
    await phone.answer("STOP", SHARED_OWN)

    assert InboundResult.UNCHANGED == await phone.answer("START", SHOP_OWN)
    assert ["opted_out", "opted_out"] == await phone.find_refusals()


async def test_start_lifts_an_opt_out_from_all_tenants_where_one_is_left(phone: Phone) -> None:
    """An answer to the only tenant is an answer to all: no other START could lift it."""
    await phone.receive_code()
    await phone.answer("STOP", SHARED_OWN)
    tenants = {"shop": phone.installation.tenants["shop"]}
    scopes = OptOutScopes({SHOP_OWN[1:]: "shop"}, only_tenant="shop")
    restarted = Phone(phone.installation.restart(tenants=tenants, opt_out_scopes=scopes))

    assert "opted_out" == await restarted.find_refusal("shop")
    assert InboundResult.OPTED_IN == await restarted.answer("START", SHOP_OWN)
    assert None is await restarted.find_refusal("shop")


async def test_a_tenant_that_is_no_longer_configured_is_never_a_scope(phone: Phone) -> None:
    """An opt-out of it stays in Redis, and refuses no send of another tenant."""
    await phone.receive_code()
    await phone.answer("STOP", BANK_OWN)
    tenants = {"shop": phone.installation.tenants["shop"]}
    scopes = replace(phone.installation.dependencies.opt_out_scopes, tenants_by_own_number={})
    restarted = phone.installation.restart(tenants=tenants, opt_out_scopes=scopes)

    assert InboundResult.UNCHANGED == await Phone(restarted).answer("START", SHOP_OWN)
