"""Issue and resend: what is charged, what is sent, and what is refunded."""

import re
from typing import Any

import msgspec
import pytest

from otp_service.core.admission import AdmissionControl
from otp_service.core.challenge import ChallengeStatus
from otp_service.core.delivery import OPTED_OUT_REASON, Fault, RefusalScope, Refused
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
from otp_service.core.limits import Algorithm, Limit, LimitTable, Window
from otp_service.core.policy import Policy
from otp_service.core.tenant import Tenant
from tests.installation import (
    ACCEPTED_REPLY,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    PROVIDER_REFUSAL,
    RECIPIENT_REFUSAL,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    gather_results,
    make_wrong_code,
)


NUMBER = "+447400123456"


async def test_fifty_issues_at_once_send_one_message(installation: Installation) -> None:
    """R25, A15: the cooldown admits one issue."""
    answers = await gather_results(*(installation.issue() for _ in range(50)))

    assert 1 == len(installation.router.messages)
    assert 49 == sum(isinstance(answer, RateLimited) for answer in answers)


async def test_waiting_exactly_retry_after_succeeds(installation: Installation) -> None:
    """R52: for the cooldown and for every window of the number."""
    for _ in range(6):
        await installation.issue()
        with pytest.raises(RateLimited) as refusal:
            await installation.issue()
        installation.advance_clock(refusal.value.retry_after * SECOND_MS)

    assert 6 == len(installation.router.messages)


async def test_a_number_gets_five_messages_in_ten_minutes_from_one_tenant(
    installation: Installation,
) -> None:
    """R25: the tenant's limit refuses the sixth, with the longest wait."""
    for _ in range(5):
        await installation.issue()
        installation.advance_clock(31 * SECOND_MS)

    with pytest.raises(RateLimited) as refusal:
        await installation.issue()

    assert "SendsPerNumberAndTenant" == refusal.value.limit
    assert 10 * 60 - 5 * 31 == refusal.value.retry_after


async def test_one_tenant_cannot_use_up_a_number_for_another(installation: Installation) -> None:
    """A16: eight for all tenants, five for one."""
    for _ in range(5):
        await installation.issue()
        installation.advance_clock(31 * SECOND_MS)

    issued = await installation.issue(tenant="bank")

    await installation.verify(issued, installation.router.extract_code(), tenant="bank")


async def test_a_refused_issue_changes_nothing_else(installation: Installation) -> None:
    """R30: the live code still verifies, and no bucket was charged."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    before = await read_buckets(installation)

    with pytest.raises(RateLimited):
        await installation.issue(account="u-81", client_ip="203.0.113.9")

    assert before == await read_buckets(installation)
    await installation.verify(issued, code)


async def test_a_refusal_by_another_bucket_refunds_every_charge(
    installation: Installation,
) -> None:
    """R20: address, account and the other buckets are charged together or not at all."""
    limits = {Limit.SENDS_ADDRESS: (Window(1, 3600),)}
    set_limits(installation, limits)
    await installation.issue("+447400123451", client_ip="203.0.113.9")
    before = await read_buckets(installation)

    with pytest.raises(RateLimited) as refusal:
        await installation.issue("+447400123452", client_ip="203.0.113.9", account="u-81")

    assert "SendsPerClientAddress" == refusal.value.limit
    assert before == await read_buckets(installation)
    denied = [e for e in await installation.read_events() if e["type"] == "otp.issue_denied"]
    assert [("rate_limited", "SendsPerClientAddress", 1, 3600)] == [
        (e["reason"], e["limit"], e["quota"], e["period"]) for e in denied
    ]


async def test_addresses_of_one_ipv6_network_share_a_bucket(installation: Installation) -> None:
    """R56: an IPv6 customer has a /64, and an IPv4-mapped address is IPv4."""
    set_limits(installation, {Limit.SENDS_ADDRESS: (Window(1, 3600),)})
    await installation.issue("+447400123451", client_ip="2001:db8::1")
    await installation.issue("+447400123453", client_ip="203.0.113.9")

    for address in ("2001:db8::ffff", "::ffff:203.0.113.9"):
        with pytest.raises(RateLimited):
            await installation.issue("+447400123452", client_ip=address)
    await installation.issue("+447400123454", client_ip="2001:db8:0:1::1")


async def test_a_block_of_numbers_is_stopped_by_its_prefix_alone(
    installation: Installation,
) -> None:
    """R28, A14: SMS pumping uses numbers by the ten thousand."""
    set_limits(installation, {Limit.SENDS_PREFIX: (Window(3, 600),)})

    answers = await gather_results(*(installation.issue(f"+44740012345{i}") for i in range(10)))

    assert 3 == sum(not isinstance(answer, Exception) for answer in answers)
    await installation.issue("+447400223456")


async def test_aliases_of_one_phone_share_its_buckets(installation: Installation) -> None:
    """R36: both forms of a number with dual dialling are one phone."""
    await installation.issue("+972561234567")

    with pytest.raises(RateLimited):
        await installation.issue("+970561234567")


async def test_all_spellings_at_once_send_one_message(installation: Installation) -> None:
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
    await gather_results(*(installation.issue(text) for text in spellings))

    assert [] == await installation.list_keys()
    await gather_results(
        *(installation.issue(text) for text in [*spellings, "+12025550123", "+12025550123"])
    )
    assert 1 == len(installation.router.messages)


async def test_nothing_is_charged_for_a_country_that_is_not_allowed(
    installation: Installation,
) -> None:
    """R27: refused before it is charged, and recorded."""
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], countries=frozenset({"FR"})
    )

    with pytest.raises(NumberNotAllowed) as refusal:
        await installation.issue()

    assert "country" == refusal.value.reason_code
    assert {} == await read_buckets(installation)
    assert ["otp.issue_denied"] == await installation.list_event_types()


async def test_fictitious_and_real_numbers_are_never_mixed(installation: Installation) -> None:
    """R38: production refuses fictitious numbers, test mode refuses real ones."""
    live = installation.restart(allow_fictitious=False)
    test = installation.restart(only_fictitious=True)

    for refusing, number, words in (
        (live, "+447700900123", "It is a fictitious number, which no phone has"),
        (test, NUMBER, "in test mode, where only fictitious numbers work"),
    ):
        with pytest.raises(NumberNotAllowed) as refusal:
            await refusing.issue(number)
        assert "fictitious" == refusal.value.reason_code
        assert words in str(refusal.value)
        assert number not in str(refusal.value)


async def test_two_codes_are_live_and_a_third_replaces_the_oldest(
    installation: Installation,
) -> None:
    """R7 as this project decides it: messages arrive late and out of order."""
    issued = await installation.issue()
    for _ in range(2):
        installation.advance_clock(30 * SECOND_MS)
        await installation.resend(issued)
    first, second, third = (installation.router.extract_code(i) for i in range(3))

    with pytest.raises(IncorrectCode):
        await installation.verify(issued, first)
    await installation.verify(issued, second)

    assert third != second
    assert "otp.superseded" in await installation.list_event_types()


async def test_with_one_live_code_a_resend_replaces_the_earlier(installation: Installation) -> None:
    """R7: the strict rule."""
    strict = installation.restart(policy=Policy(live_codes=1))
    issued = await strict.issue()
    strict.advance_clock(30 * SECOND_MS)
    await strict.resend(issued)

    with pytest.raises(IncorrectCode):
        await strict.verify(issued, strict.router.extract_code(0))
    await strict.verify(issued, strict.router.extract_code(1))


async def test_a_resend_that_no_provider_takes_leaves_the_earlier_codes(
    installation: Installation,
) -> None:
    """R7: a failed resend must not end a code that has already arrived."""
    strict = installation.restart(policy=Policy(live_codes=1))
    issued = await strict.issue()
    strict.advance_clock(30 * SECOND_MS)
    strict.router.queue_replies(PROVIDER_REFUSAL)

    with pytest.raises(DeliveryFailed):
        await strict.resend(issued)

    now = await strict.service.get_challenge(strict.build_caller(), strict.get_challenge_id(issued))
    assert now.challenge is not None
    assert 2 == now.challenge.sends_left
    await strict.verify(issued, strict.router.extract_code(0))


async def test_a_code_on_its_way_is_right_while_it_is_being_sent(
    installation: Installation,
) -> None:
    """An SMS can arrive before the provider's reply."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)
    seen = []

    async def answer_at_once() -> None:
        seen.append(await installation.verify(issued, installation.router.extract_code()))

    installation.router.on_send = answer_at_once
    resent = await installation.resend(issued)

    assert resent.challenge is not None
    assert ChallengeStatus.VERIFIED == resent.challenge.compute_status(resent.now)
    assert 1 == len(seen)


async def test_a_fourth_send_is_refused(installation: Installation) -> None:
    """The contract's states: the first send counts."""
    issued = await installation.issue()
    assert issued.challenge is not None
    assert 2 == issued.challenge.sends_left
    for _ in range(2):
        installation.advance_clock(30 * SECOND_MS)
        await installation.resend(issued)
    installation.advance_clock(30 * SECOND_MS)

    with pytest.raises(SendsExhausted):
        await installation.resend(issued)


async def test_a_resend_keeps_the_deadline_and_is_refused_in_the_last_minute(
    installation: Installation,
) -> None:
    """R3: the message contains the minutes that remain."""
    issued = await installation.issue()
    installation.advance_clock(130 * SECOND_MS)
    resent = await installation.resend(issued)

    assert issued.challenge is not None
    assert resent.challenge is not None
    assert issued.challenge.deadline == resent.challenge.deadline
    assert "5 min" in installation.router.messages[0].text
    assert "2 min" in installation.router.messages[1].text
    installation.advance_clock(111 * SECOND_MS)
    with pytest.raises(ChallengeExpired):
        await installation.resend(issued)


async def test_a_send_that_no_provider_took_is_refunded_except_its_cooldown(
    installation: Installation,
) -> None:
    """The contract's states: 502, and the challenge is canceled."""
    installation.router.queue_replies(PROVIDER_REFUSAL, PROVIDER_REFUSAL)

    with pytest.raises(DeliveryFailed) as failure:
        await installation.issue(account="u-81")

    assert {"CooldownPerNumber", "RefundsPerNumber"} == {
        limit for limit, _ in await read_buckets(installation)
    }
    canceled = await installation.store.fetch_challenge("shop", failure.value.challenge_id)
    assert canceled.challenge is not None
    assert ChallengeStatus.CANCELED == canceled.challenge.compute_status(canceled.now)


async def test_a_number_has_three_refunds_in_ten_minutes(
    installation: Installation,
) -> None:
    """Otherwise a caller who breaks the provider could send without charge."""
    for _ in range(5):
        installation.router.queue_replies(PROVIDER_REFUSAL)
        with pytest.raises(DeliveryFailed):
            await installation.issue()
        installation.advance_clock(31 * SECOND_MS)

    assert 2 == len((await read_buckets(installation))["SendsPerNumber", ""])


async def test_a_number_that_no_provider_reaches_keeps_its_charges(
    installation: Installation,
) -> None:
    """The contract's states: otherwise invalid numbers could be tried without charge."""
    installation.router.queue_replies(RECIPIENT_REFUSAL)

    with pytest.raises(Undeliverable) as refusal:
        await installation.issue()

    assert "unknown-subscriber" == refusal.value.reason_code
    assert 1 == len((await read_buckets(installation))["SendsPerNumber", ""])


async def test_a_refusal_by_an_opt_out_says_so_and_blocks_nothing_here(
    installation: Installation,
) -> None:
    """A vendor reports its own block, of one sender: the next code goes out where that has ended."""
    installation.router.queue_replies(
        Refused(Fault.RECIPIENT, OPTED_OUT_REASON, scope=RefusalScope.BLOCKED)
    )

    with pytest.raises(Undeliverable) as refusal:
        await installation.issue()

    assert OPTED_OUT_REASON == refusal.value.reason_code
    (failed,) = [
        one for one in await installation.read_events() if one["type"] == "otp.provider_failed"
    ]
    assert ("recipient", "blocked", OPTED_OUT_REASON) == (
        failed["fault"],
        failed["about"],
        failed["reason"],
    )
    installation.advance_clock(31 * SECOND_MS)
    assert (await installation.issue()).challenge


async def test_every_message_that_may_be_billed_is_charged(installation: Installation) -> None:
    """R26: two timeouts and an acceptance are three messages."""
    installation.router.queue_replies(UNKNOWN_OUTCOME, UNKNOWN_OUTCOME, ACCEPTED_REPLY)

    issued = await installation.issue()

    assert issued.challenge is not None
    assert 3 == len((await read_buckets(installation))["SendsPerNumber", ""])
    assert ["unknown", "unknown", "accepted"] == [
        submission.outcome for submission in issued.challenge.submissions
    ]


async def test_a_send_with_an_unknown_outcome_is_never_refunded(installation: Installation) -> None:
    """R88: with only `unknown` outcomes the response is 201 and the code is live."""
    installation.router.queue_replies(UNKNOWN_OUTCOME)

    issued = await installation.issue()

    await installation.verify(issued, installation.router.extract_code())


async def test_a_full_queue_refuses_before_anything_is_charged(installation: Installation) -> None:
    """R13: a 503 costs nothing."""
    for gate in ("hash_slots", "send_slots"):
        full = installation.restart(**{gate: AdmissionControl(0, 0)})
        with pytest.raises(Overloaded):
            await full.issue()

    assert {} == await read_buckets(installation)
    assert [] == installation.router.messages


async def test_one_key_is_one_message(installation: Installation) -> None:
    """R53: fifty concurrent calls send one message."""
    answers = await gather_results(*(installation.issue(key="k") for _ in range(50)))

    assert 1 == len(installation.router.messages)
    ids = {
        installation.get_challenge_id(answer)
        for answer in answers
        if not isinstance(answer, Exception)
    }
    assert 1 == len(ids)
    problem_types = {answer.problem_type for answer in answers if isinstance(answer, OtpError)}
    assert problem_types <= {"idempotency-key-in-use"}
    assert ids == {installation.get_challenge_id(await installation.issue(key="k"))}


async def test_a_key_that_was_used_for_another_request_is_refused(
    installation: Installation,
) -> None:
    """R53: 422 for another payload; the same key of another tenant is another key."""
    await installation.issue(key="k")

    with pytest.raises(OtpError) as refusal:
        await installation.issue("+447400123457", key="k")

    assert "idempotency-key-reused" == refusal.value.problem_type
    await installation.issue("+447400123458", tenant="bank", key="k")


async def test_a_refusal_frees_its_key(installation: Installation) -> None:
    """The contract's idempotency: a refused call may be repeated with its key."""
    installation.router.queue_replies(PROVIDER_REFUSAL)
    with pytest.raises(DeliveryFailed):
        await installation.issue(key="k")
    installation.advance_clock(30 * SECOND_MS)

    await installation.issue(key="k")

    assert 1 == len(installation.router.messages)


async def test_a_resend_is_sent_once_for_its_key(installation: Installation) -> None:
    """R53: also for a resend."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)

    await installation.resend(issued, key="k")
    await installation.resend(issued, key="k")

    assert 2 == len(installation.router.messages)


async def test_the_winning_verify_is_answered_again_for_a_minute(
    installation: Installation,
) -> None:
    """R54: same tenant, challenge, key and code; recorded each time."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    await installation.verify(issued, code, key="k")

    await installation.verify(issued, code, key="k")

    repeated = [
        e.get("repeated") for e in await installation.read_events() if e["type"] == "otp.verified"
    ]
    assert [None, True] == repeated
    for key, tried in (("other", code), ("k", make_wrong_code(code)), (None, code)):
        with pytest.raises(OtpError) as refusal:
            await installation.verify(issued, tried, key=key)
        assert "challenge-already-verified" == refusal.value.problem_type
    installation.advance_clock(MINUTE_MS)
    with pytest.raises(OtpError):
        await installation.verify(issued, code, key="k")


async def test_limits_outlive_their_instants_exactly(installation: Installation) -> None:
    """Ten a day per tenant: the eleventh waits until the first is a day old."""
    set_limits(installation, {Limit.SENDS_NUMBER: (Window(100, 600), Window(200, 86400))})
    started = installation.clock_shift_ms
    for _ in range(10):
        await installation.issue()
        installation.advance_clock(HOUR_MS)

    with pytest.raises(RateLimited) as refusal:
        await installation.issue()

    assert (
        (started + DAY_MS - installation.clock_shift_ms) // SECOND_MS
        <= refusal.value.retry_after
        <= 14 * 3600 + 1
    )


def set_limits(installation: Installation, limits: LimitTable) -> None:
    """Set these limits for every tenant."""
    for name, tenant in installation.tenants.items():
        rates = {**tenant.limits, **limits}
        installation.tenants[name] = Tenant(name, "Example", frozenset({"*"}), limits=rates)


async def read_buckets(installation: Installation) -> dict[tuple[str, str], Any]:
    """Return the charges or the TATs of every bucket, by limit and tenant."""
    contents = {}
    for key in await installation.list_keys("*:limit:*"):
        match = re.fullmatch(rb"\{\d\d\}:limit:(\w+):(\w*):.*", key)
        assert match
        (packed,) = await installation.script_client.run_pipeline(key.decode(), [("GET", key)])
        stored = msgspec.msgpack.decode(packed)
        is_exact = Limit(match[1].decode()).algorithm is Algorithm.SLIDING_WINDOW
        value = stored[::2] if is_exact else stored[:-1]  # without its last write
        contents[match[1].decode(), match[2].decode()] = value
    return contents
