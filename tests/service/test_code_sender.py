"""Issue and resend: what is charged, what is sent, and what is given back."""

import re
from typing import Any

import msgspec
import pytest

from otp_service.core.admission import Gate
from otp_service.core.challenge import Status
from otp_service.core.errors import (
    ChallengeExpired,
    DeliveryFailed,
    IncorrectCode,
    NumberNotAllowed,
    OtpError,
    Overloaded,
    RateLimited,
    SendsExhausted,
    Undeliverable,
)
from otp_service.core.limits import Limit, Rates, Window
from otp_service.core.policy import Policy
from otp_service.core.tenant import Tenant
from tests.installation import (
    DAY,
    HOUR,
    MAYBE,
    MINUTE,
    NO_SUCH_NUMBER,
    REFUSED,
    SECOND,
    TAKEN,
    World,
    together,
    wrong,
)


NUMBER = "+447400123456"


async def test_fifty_issues_at_once_send_one_message(world: World) -> None:
    """R25, A15: the cooldown admits one."""
    answers = await together(*(world.issue() for _ in range(50)))

    assert 1 == len(world.phones.messages)
    assert 49 == sum(isinstance(answer, RateLimited) for answer in answers)


async def test_waiting_exactly_retry_after_succeeds(world: World) -> None:
    """R52: for the cooldown and for every window of the number."""
    for _ in range(6):
        await world.issue()
        with pytest.raises(RateLimited) as refusal:
            await world.issue()
        world.wait(refusal.value.retry_after * SECOND)

    assert 6 == len(world.phones.messages)


async def test_a_number_gets_five_messages_in_ten_minutes_from_one_tenant(world: World) -> None:
    """R25: the sixth is refused by the tenant's share, with the longest wait."""
    for _ in range(5):
        await world.issue()
        world.wait(31 * SECOND)

    with pytest.raises(RateLimited) as refusal:
        await world.issue()

    assert "SendsPerNumberAndTenant" == refusal.value.limit
    assert 10 * 60 - 5 * 31 == refusal.value.retry_after


async def test_one_tenant_cannot_use_up_a_number_for_another(world: World) -> None:
    """A16: eight over all tenants, five of one."""
    for _ in range(5):
        await world.issue()
        world.wait(31 * SECOND)

    issued = await world.issue(tenant="bank")

    await world.verify(issued, world.phones.code(), tenant="bank")


async def test_a_refused_issue_changes_nothing_else(world: World) -> None:
    """R30: the live code still verifies, and no bucket of anybody was charged."""
    issued = await world.issue()
    code = world.phones.code()
    before = await buckets(world)

    with pytest.raises(RateLimited):
        await world.issue(account="u-81", client_ip="203.0.113.9")

    assert before == await buckets(world)
    await world.verify(issued, code)


async def test_a_refusal_by_anothers_bucket_gives_everything_back(world: World) -> None:
    """R20: address, account and the rest are charged side by side, or not at all."""
    limits = {Limit.SENDS_ADDRESS: (Window(1, 3600),)}
    narrow(world, limits)
    await world.issue("+447400123451", client_ip="203.0.113.9")
    before = await buckets(world)

    with pytest.raises(RateLimited) as refusal:
        await world.issue("+447400123452", client_ip="203.0.113.9", account="u-81")

    assert "SendsPerClientAddress" == refusal.value.limit
    assert before == await buckets(world)
    denied = [e for e in await world.events() if e["type"] == "otp.issue_denied"]
    assert [("rate_limited", "SendsPerClientAddress", 1, 3600)] == [
        (e["reason"], e["limit"], e["quota"], e["period"]) for e in denied
    ]


async def test_addresses_of_one_ipv6_network_share_a_bucket(world: World) -> None:
    """R56: a customer rotates through a /64; an IPv4-mapped address is IPv4."""
    narrow(world, {Limit.SENDS_ADDRESS: (Window(1, 3600),)})
    await world.issue("+447400123451", client_ip="2001:db8::1")
    await world.issue("+447400123453", client_ip="203.0.113.9")

    for address in ("2001:db8::ffff", "::ffff:203.0.113.9"):
        with pytest.raises(RateLimited):
            await world.issue("+447400123452", client_ip=address)
    await world.issue("+447400123454", client_ip="2001:db8:0:1::1")


async def test_a_block_of_numbers_is_stopped_by_its_prefix_alone(world: World) -> None:
    """R28, A14: SMS pumping buys numbers by the ten thousand."""
    narrow(world, {Limit.SENDS_PREFIX: (Window(3, 600),)})

    answers = await together(*(world.issue(f"+44740012345{i}") for i in range(10)))

    assert 3 == sum(not isinstance(answer, Exception) for answer in answers)
    await world.issue("+447400223456")


async def test_aliases_of_one_phone_share_its_buckets(world: World) -> None:
    """R36: both forms of a number in dual dialling are one phone."""
    await world.issue("+972561234567")

    with pytest.raises(RateLimited):
        await world.issue("+970561234567")


async def test_messages_of_all_spellings_at_once_are_one(world: World) -> None:
    """R34, A6: every spelling but the strict one is refused before anything is written."""
    spellings = [
        "+1 (202) 555-0123",
        "+1-202-555-0123",
        "tel:+12025550123",
        "++12025550123",
        "+12025550123 ext. 5",
        "+12025550123;ext=99",
        "+1202555０１２３",
        "+1 202 KKK 0123",
        "+12025550123\x00",
        "+1\u200b2025550123",
        "12025550123",
        "+112025550123",
    ]
    await together(*(world.issue(text) for text in spellings))

    assert [] == await world.names()
    await together(*(world.issue(text) for text in [*spellings, "+12025550123", "+12025550123"]))
    assert 1 == len(world.phones.messages)


async def test_nothing_is_charged_for_a_country_that_is_not_allowed(world: World) -> None:
    """R27: refused before charging, and recorded."""
    world.tenants["shop"] = msgspec.structs.replace(
        world.tenants["shop"], countries=frozenset({"FR"})
    )

    with pytest.raises(NumberNotAllowed) as refusal:
        await world.issue()

    assert "country" == refusal.value.why
    assert {} == await buckets(world)
    assert ["otp.issue_denied"] == await world.told()


async def test_fictitious_numbers_and_real_ones_keep_apart(world: World) -> None:
    """R38: production refuses the one, test mode the other."""
    live = world.again(allow_fictitious=False)
    test = world.again(only_fictitious=True)

    for refusing, number in ((live, "+447700900123"), (test, NUMBER)):
        with pytest.raises(NumberNotAllowed) as refusal:
            await refusing.issue(number)
        assert "fictitious" == refusal.value.why


async def test_both_of_two_codes_are_right_and_the_third_drives_out_the_oldest(
    world: World,
) -> None:
    """R7 as this project decides it: messages arrive late and out of order."""
    issued = await world.issue()
    for _ in range(2):
        world.wait(30 * SECOND)
        await world.resend(issued)
    first, second, third = (world.phones.code(i) for i in range(3))

    with pytest.raises(IncorrectCode):
        await world.verify(issued, first)
    await world.verify(issued, second)

    assert third != second
    assert "otp.superseded" in await world.told()


async def test_with_one_live_code_a_resend_replaces_the_earlier(world: World) -> None:
    """R7: the strict rule."""
    strict = world.again(policy=Policy(live_codes=1))
    issued = await strict.issue()
    strict.wait(30 * SECOND)
    await strict.resend(issued)

    with pytest.raises(IncorrectCode):
        await strict.verify(issued, strict.phones.code(0))
    await strict.verify(issued, strict.phones.code(1))


async def test_a_resend_that_nobody_takes_leaves_the_earlier_codes(world: World) -> None:
    """R7: it must not kill a code that has already arrived."""
    strict = world.again(policy=Policy(live_codes=1))
    issued = await strict.issue()
    strict.wait(30 * SECOND)
    strict.phones.will_answer(REFUSED)

    with pytest.raises(DeliveryFailed):
        await strict.resend(issued)

    now = await strict.service.view(strict.caller(), strict.id_of(issued))
    assert now.challenge is not None
    assert 2 == now.challenge.sends_left
    await strict.verify(issued, strict.phones.code(0))


async def test_a_code_on_its_way_is_right_while_it_is_being_sent(world: World) -> None:
    """An SMS can be faster than the provider's reply."""
    issued = await world.issue()
    world.wait(30 * SECOND)
    seen = []

    async def answer_at_once() -> None:
        seen.append(await world.verify(issued, world.phones.code()))

    world.phones.meanwhile = answer_at_once
    resent = await world.resend(issued)

    assert resent.challenge is not None
    assert Status.VERIFIED == resent.challenge.status(resent.now)
    assert 1 == len(seen)


async def test_three_sends_are_all(world: World) -> None:
    """The contract's states: the first counts."""
    issued = await world.issue()
    assert issued.challenge is not None
    assert 2 == issued.challenge.sends_left
    for _ in range(2):
        world.wait(30 * SECOND)
        await world.resend(issued)
    world.wait(30 * SECOND)

    with pytest.raises(SendsExhausted):
        await world.resend(issued)


async def test_a_resend_moves_no_deadline_and_refuses_the_last_minute(world: World) -> None:
    """R3: the message states the minutes that remain."""
    issued = await world.issue()
    world.wait(130 * SECOND)
    resent = await world.resend(issued)

    assert issued.challenge is not None
    assert resent.challenge is not None
    assert issued.challenge.deadline == resent.challenge.deadline
    assert "5 min" in world.phones.messages[0].text
    assert "2 min" in world.phones.messages[1].text
    world.wait(111 * SECOND)
    with pytest.raises(ChallengeExpired):
        await world.resend(issued)


async def test_a_send_that_nobody_took_is_given_back_but_for_its_cooldown(world: World) -> None:
    """The contract's states: 502, and the challenge is canceled."""
    world.phones.will_answer(REFUSED, REFUSED)

    with pytest.raises(DeliveryFailed) as failure:
        await world.issue(account="u-81")

    assert {"CooldownPerNumber", "GiveBacksPerNumber"} == {
        limit for limit, _ in await buckets(world)
    }
    canceled = await world.store.fetch("shop", failure.value.challenge_id)
    assert canceled.challenge is not None
    assert Status.CANCELED == canceled.challenge.status(canceled.now)


async def test_a_number_is_given_back_three_sends_in_ten_minutes(world: World) -> None:
    """Else whoever breaks the provider could send for nothing."""
    for _ in range(5):
        world.phones.will_answer(REFUSED)
        with pytest.raises(DeliveryFailed):
            await world.issue()
        world.wait(31 * SECOND)

    assert 2 == len((await buckets(world))["SendsPerNumber", ""])


async def test_a_number_that_no_provider_reaches_keeps_its_charges(world: World) -> None:
    """The contract's states: otherwise bad numbers could be tried for nothing."""
    world.phones.will_answer(NO_SUCH_NUMBER)

    with pytest.raises(Undeliverable) as refusal:
        await world.issue()

    assert "unknown-subscriber" == refusal.value.why
    assert 1 == len((await buckets(world))["SendsPerNumber", ""])


async def test_every_message_that_may_be_billed_is_charged(world: World) -> None:
    """R26: two timeouts and an acceptance are three messages."""
    world.phones.will_answer(MAYBE, MAYBE, TAKEN)

    issued = await world.issue()

    assert issued.challenge is not None
    assert 3 == len((await buckets(world))["SendsPerNumber", ""])
    assert ["unknown", "unknown", "accepted"] == [
        submission.outcome for submission in issued.challenge.submissions
    ]


async def test_what_may_have_been_sent_is_never_given_back(world: World) -> None:
    """R88: with only `unknown` the answer is 201 and the code is live."""
    world.phones.will_answer(MAYBE)

    issued = await world.issue()

    await world.verify(issued, world.phones.code())


async def test_a_full_queue_refuses_before_anything_is_charged(world: World) -> None:
    """R13: 503 costs nothing."""
    for gate in ("hashing", "sending"):
        full = world.again(**{gate: Gate(0, 0)})
        with pytest.raises(Overloaded):
            await full.issue()

    assert {} == await buckets(world)
    assert [] == world.phones.messages


async def test_one_key_is_one_message(world: World) -> None:
    """R53: fifty calls at once."""
    answers = await together(*(world.issue(key="k") for _ in range(50)))

    assert 1 == len(world.phones.messages)
    ids = {world.id_of(answer) for answer in answers if not isinstance(answer, Exception)}
    assert 1 == len(ids)
    slugs = {answer.slug for answer in answers if isinstance(answer, OtpError)}
    assert slugs <= {"idempotency-key-in-use"}
    assert ids == {world.id_of(await world.issue(key="k"))}


async def test_a_key_that_was_used_for_another_request_is_refused(world: World) -> None:
    """R53: 422 for another payload; another tenant's key is another key."""
    await world.issue(key="k")

    with pytest.raises(OtpError) as refusal:
        await world.issue("+447400123457", key="k")

    assert "idempotency-key-reused" == refusal.value.slug
    await world.issue("+447400123458", tenant="bank", key="k")


async def test_a_refusal_frees_its_key(world: World) -> None:
    """The contract's idempotency: what was refused may be tried again."""
    world.phones.will_answer(REFUSED)
    with pytest.raises(DeliveryFailed):
        await world.issue(key="k")
    world.wait(30 * SECOND)

    await world.issue(key="k")

    assert 1 == len(world.phones.messages)


async def test_a_resend_is_done_once_for_its_key(world: World) -> None:
    """R53: also on resend."""
    issued = await world.issue()
    world.wait(30 * SECOND)

    await world.resend(issued, key="k")
    await world.resend(issued, key="k")

    assert 2 == len(world.phones.messages)


async def test_the_winning_verify_is_answered_again_for_a_minute(world: World) -> None:
    """R54: same tenant, challenge, key and code; recorded each time."""
    issued = await world.issue()
    code = world.phones.code()
    await world.verify(issued, code, key="k")

    await world.verify(issued, code, key="k")

    repeated = [e.get("repeated") for e in await world.events() if e["type"] == "otp.verified"]
    assert [None, True] == repeated
    for key, tried in (("other", code), ("k", wrong(code)), (None, code)):
        with pytest.raises(OtpError) as refusal:
            await world.verify(issued, tried, key=key)
        assert "challenge-already-verified" == refusal.value.slug
    world.wait(MINUTE)
    with pytest.raises(OtpError):
        await world.verify(issued, code, key="k")


async def test_limits_outlive_their_instants_exactly(world: World) -> None:
    """Ten a day per tenant: the eleventh waits for the first to be a day old."""
    narrow(world, {Limit.SENDS_NUMBER: (Window(100, 600), Window(200, 86400))})
    began = world.shift
    for _ in range(10):
        await world.issue()
        world.wait(HOUR)

    with pytest.raises(RateLimited) as refusal:
        await world.issue()

    assert (began + DAY - world.shift) // SECOND <= refusal.value.retry_after <= 14 * 3600 + 1


def narrow(world: World, limits: Rates) -> None:
    """Give every tenant these limits."""
    for name, tenant in world.tenants.items():
        rates = {**tenant.rates, **limits}
        world.tenants[name] = Tenant(name, "Example", frozenset({"*"}), rates=rates)


async def buckets(world: World) -> dict[tuple[str, str], Any]:
    """Return what every bucket holds, by limit and tenant."""
    client: Any = world.link.client
    found = {}
    for key in await world.names("*:limit:*"):
        match = re.fullmatch(rb"\{\d\d\}:limit:(\w+):(\w*):.*", key)
        assert match
        kind = await client.type(key)
        value = await (client.zrange(key, 0, -1) if kind == b"zset" else client.get(key))
        found[match[1].decode(), match[2].decode()] = value
    return found
