"""Deliveries: a code of another product is sent once, under every limit, and is stored nowhere."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from otp_service.core.challenge import DELIVERY_ID
from otp_service.core.charges import build_consecutive_failure_charge
from otp_service.core.commit import ChallengeSnapshot, Commit
from otp_service.core.delivery import Receipt, SubmissionReference, compute_delivery_status
from otp_service.core.errors import (
    ChallengeExpired,
    ChallengeNotFound,
    DeliveryFailed,
    DeliveryNotFound,
    Forbidden,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidPhoneNumber,
    InvalidRequest,
    NumberLocked,
    NumberNotAllowed,
    OtpError,
    Overloaded,
    RateLimited,
    Undeliverable,
)
from otp_service.core.events import BlocklistChanged, NumberErased
from otp_service.core.phone_number import parse_number
from otp_service.store.number_admin import NumberAdmin
from tests.installation import (
    ACCEPTED_REPLY,
    HOUR_MS,
    MINUTE_MS,
    PROVIDER_REFUSAL,
    RECIPIENT_REFUSAL,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    gather_results,
)
from tests.service.test_receipt_handler import deliver_receipt


NUMBER = "+447400123456"


async def read_delivery(installation: Installation, stored: ChallengeSnapshot) -> Any:
    """Return the delivery as a caller of GET gets it."""
    snapshot = await installation.service.get_delivery(
        installation.build_caller(), installation.get_challenge_id(stored)
    )
    return snapshot.challenge


async def test_the_code_is_sent_once_in_our_words_and_the_event_is_its_own(
    installation: Installation,
) -> None:
    """The message states the minutes; no argon2 runs, and no attempt or send is left."""
    sent = await installation.deliver("0471", valid_minutes=45, account="u-81", locale="de")

    (message,) = installation.router.messages
    assert "0471" in message.text
    assert "45" in message.text
    assert "Example" in message.text
    assert ("0471", 45) == (message.code, message.minutes)
    assert 45 * 60 - 5 <= message.validity_seconds <= 45 * 60
    assert 0 == installation.hasher.hash_count
    delivery = await read_delivery(installation, sent)
    assert DELIVERY_ID.fullmatch(delivery.id)
    assert (0, 0, "u-81") == (delivery.attempts_left, delivery.sends_left, delivery.account)
    assert ["delivery.created", "delivery.sent"] == await installation.list_event_types()
    created, taken = (e for e in await installation.read_events() if e["type"] != "log.epoch")
    assert delivery.id == created["challenge"] == taken["challenge"]
    assert created["number"].startswith("1:")


async def test_the_code_is_in_no_record_and_no_event(installation: Installation) -> None:
    """Nothing that could be compared with a code is stored: neither a hash nor a salt."""
    sent = await installation.deliver("84629173", key="k", account="u-81")

    assert sent.secret is None
    assert [] == await installation.list_keys("*secret*")
    (record_key,) = await installation.list_keys("*challenge*")
    opened = installation.store.cipher.open_record(
        record_key.decode(), await _read_key(installation, record_key)
    )
    assert b"84629173" not in opened[1]
    assert "84629173" not in str(await installation.read_events())


async def _read_key(installation: Installation, key: bytes) -> bytes:
    (value,) = await installation.script_client.read_each([key.decode()], "GET")
    return bytes(value)


@pytest.mark.parametrize("code", ["471", "123456789", "47a1", "471\n", "٤٧١٠", "", "4 711"])
async def test_only_four_to_eight_digits_are_sent(installation: Installation, code: str) -> None:
    """Also for a caller inside the service, which no decoder has checked: no free text."""
    with pytest.raises(InvalidRequest) as refusal:
        await installation.deliver(code)

    assert ["code"] == [path for path, _ in refusal.value.errors]
    assert [] == installation.router.messages
    assert [] == await installation.list_keys()


@pytest.mark.parametrize("code", ["a1b2", "ABCDEFGHIJ", "0123456789"])
async def test_letters_are_sent_where_the_tenant_allows_them(
    installation: Installation, code: str
) -> None:
    """The setting `delivery_letters`: up to ten characters, still without spaces and punctuation."""
    tenant = installation.tenants["shop"]
    installation.tenants["shop"] = msgspec.structs.replace(tenant, delivery_letters=True)

    await installation.deliver(code)

    assert code in installation.router.messages[0].text
    for refused in ("abc", "ABCDEFGHIJK", "ab cd", "ab.cd", "caf\u00e9"):
        with pytest.raises(InvalidRequest):
            await installation.deliver(refused)
    assert 1 == len(installation.router.messages)


@pytest.mark.parametrize(
    ("change", "request_fields", "error"),
    [
        ({"countries": frozenset({"FR"})}, {}, NumberNotAllowed),
        ({}, {"number": "+442079461234"}, NumberNotAllowed),
        ({}, {"number": "+44740012345"}, InvalidPhoneNumber),
        ({"purposes": frozenset({"payment"})}, {}, Forbidden),
        ({"requires": frozenset({"account"})}, {}, InvalidRequest),
    ],
)
async def test_what_an_issue_is_refused_for_refuses_a_delivery(
    installation: Installation, change: Any, request_fields: Any, error: type[OtpError]
) -> None:
    """A number that is not allowed is an event of deliveries."""
    installation.tenants["shop"] = msgspec.structs.replace(installation.tenants["shop"], **change)

    with pytest.raises(error):
        await installation.deliver(**request_fields)

    assert [] == installation.router.messages
    denied = ["delivery.denied"] if error is NumberNotAllowed else []
    assert denied == await installation.list_event_types()


async def test_a_blocked_number_gets_nothing(installation: Installation) -> None:
    """The do-not-send list holds for codes of other products."""
    operators = NumberAdmin(installation.store, installation.keys.pseudonym)
    await operators.block_number(parse_number(NUMBER), BlocklistChanged(id="1"), "operation-1")

    with pytest.raises(NumberNotAllowed) as refusal:
        await installation.deliver()

    assert "blocked" == refusal.value.reason_code
    assert [] == installation.router.messages


async def test_deliveries_and_challenges_share_every_limit_on_sends(
    installation: Installation,
) -> None:
    """The cooldown, and five sends in ten minutes: a caller cannot evade one by the other."""
    await installation.issue()
    with pytest.raises(RateLimited) as refusal:
        await installation.deliver()
    assert "Cooldown" in refusal.value.limit

    for turn in range(4):
        installation.advance_clock(31 * SECOND_MS)
        await (installation.deliver() if turn % 2 else installation.issue())
    installation.advance_clock(31 * SECOND_MS)
    with pytest.raises(RateLimited) as refusal:
        await installation.deliver()

    assert "SendsPerNumberAndTenant" == refusal.value.limit
    assert 5 == len(installation.router.messages)
    denied = [e for e in await installation.read_events() if e["type"] == "delivery.denied"]
    assert ["rate_limited", "rate_limited"] == [event["reason"] for event in denied]


async def test_a_delivery_charges_what_an_issue_charges(installation: Installation) -> None:
    """Every bucket of a send has the same name and cost, whatever is sent."""
    fields = {"account": "u-81", "client_ip": "203.0.113.9"}
    await installation.issue("+447400123456", **fields)
    issue_buckets = await _count_buckets(installation)
    await installation.deliver(number="+447400993457", **fields)

    limits = Counter(key.split(b":")[2] for key in await installation.list_keys("*limit*"))
    own_buckets = {
        b"CooldownPerNumber",
        b"SendsPerNumber",
        b"SendsPerNumberAndTenant",
        b"SendsPerPrefix",
    }
    assert {limit: 2 if limit in own_buckets else 1 for limit in issue_buckets} == limits


async def _count_buckets(installation: Installation) -> set[bytes]:
    return {key.split(b":")[2] for key in await installation.list_keys("*limit*")}


async def test_twenty_calls_with_one_key_send_one_message(installation: Installation) -> None:
    """Each gets the same delivery or is asked to repeat; so does the same call a minute later."""
    results = await gather_results(
        *(installation.deliver(key="k", account="u-81") for _ in range(20))
    )

    sent = [one for one in results if not isinstance(one, IdempotencyKeyInUse)]
    assert [] == [error for error in sent if isinstance(error, Exception)]
    ids = {installation.get_challenge_id(one) for one in sent}
    assert 1 == len(ids)
    assert 1 == len(installation.router.messages)
    installation.advance_clock(MINUTE_MS)
    repeated = await installation.deliver(key="k", account="u-81")
    assert ids == {installation.get_challenge_id(repeated)}
    assert 1 == len(installation.router.messages)


@pytest.mark.parametrize(
    "change",
    [{"code": "471094"}, {"valid_minutes": 6}, {"purpose": "payment"}, {"number": "+447400993457"}],
)
async def test_another_request_under_the_same_key_is_refused(
    installation: Installation, change: Any
) -> None:
    """The code is a part of the request's fingerprint, as every member is."""
    await installation.deliver(key="k")

    with pytest.raises(IdempotencyKeyReused):
        await installation.deliver(key="k", **change)

    assert 1 == len(installation.router.messages)


async def test_a_key_of_an_issue_is_no_key_of_a_delivery(installation: Installation) -> None:
    """One namespace for a tenant, as the contract has it: another request is 422."""
    await installation.issue(key="k")

    with pytest.raises(IdempotencyKeyReused):
        await installation.deliver(key="k")


async def test_a_key_whose_delivery_is_deleted_sends_nothing_again(
    installation: Installation,
) -> None:
    """410 for the rest of its day: the result is gone, and the call must not run twice."""
    await installation.deliver(key="k", valid_minutes=60)
    installation.advance_clock(2 * HOUR_MS)

    with pytest.raises(ChallengeExpired, match="delivery"):
        await installation.deliver(key="k", valid_minutes=60)

    assert 1 == len(installation.router.messages)


async def test_a_delivery_is_known_for_an_hour_after_its_minutes(
    installation: Installation,
) -> None:
    """Then GET is 404."""
    sent = await installation.deliver(valid_minutes=60)

    installation.advance_clock(2 * HOUR_MS - MINUTE_MS)
    assert await read_delivery(installation, sent)
    installation.advance_clock(MINUTE_MS)
    with pytest.raises(DeliveryNotFound):
        await read_delivery(installation, sent)


async def test_another_tenant_does_not_see_it(installation: Installation) -> None:
    """404, as for a challenge."""
    sent = await installation.deliver()

    with pytest.raises(DeliveryNotFound):
        await installation.service.get_delivery(
            installation.build_caller("bank"), installation.get_challenge_id(sent)
        )


async def test_a_delivery_is_no_challenge_and_a_challenge_no_delivery(
    installation: Installation,
) -> None:
    """Whatever calls the service: the ids of one kind do not exist for the calls of the other."""
    sent, issued = await installation.deliver(), await installation.issue("+447400993457")
    caller, id_ = installation.build_caller(), installation.get_challenge_id(sent)

    for call in (
        installation.verify(sent, "471093"),
        installation.resend(sent),
        installation.service.get_challenge(caller, id_),
        installation.service.cancel(caller, id_),
    ):
        with pytest.raises(ChallengeNotFound):
            await call
    with pytest.raises(DeliveryNotFound):
        await read_delivery(installation, issued)
    # The same 128 bits under the other letter are not stored.
    with pytest.raises(ChallengeNotFound):
        await installation.service.get_challenge(caller, f"c{id_[1:]}")
    with pytest.raises(DeliveryNotFound):
        await installation.service.get_delivery(
            caller, f"d{installation.get_challenge_id(issued)[1:]}"
        )


async def test_every_transition_of_a_code_refuses_a_delivery(installation: Installation) -> None:
    """The second guard, if an id were ever not checked: it has no attempts, sends and secret."""
    delivery = (await installation.deliver()).require_challenge()
    now = delivery.created_at

    for transition in (
        delivery.charge_attempt,
        delivery.check_resend,
        delivery.cancel,
        delivery.check_pending,
    ):
        with pytest.raises(OtpError):
            transition(now)
    assert not delivery.can_auto_resend(1, 0, now)


async def test_a_receipt_updates_it(installation: Installation) -> None:
    """With an event of its own type, and for the quality of the provider."""
    sent = await installation.deliver()

    assert await deliver_receipt(installation, sent, "delivered")

    delivery = await read_delivery(installation, sent)
    assert "delivered" == compute_delivery_status(delivery.submissions)
    assert "delivery.reported" == (await installation.list_event_types())[-1]
    assert 1 == len(installation.router.receipts)


@pytest.mark.parametrize("status", ["technical-failure", "permanent-failure"])
async def test_a_failed_receipt_sends_nothing_again(
    installation: Installation, status: Any
) -> None:
    """An automatic resend is impossible, because the code is not stored."""
    sent = await installation.deliver()
    reference = f"shop.{installation.get_challenge_id(sent)}.1.1"

    result = await installation.service.handle_receipt(
        installation.build_caller(),
        "p1",
        Receipt(status, reference),
        trusted=True,
    )

    assert result.is_known
    assert result.auto_resend_reference is None
    installation.advance_clock(31 * SECOND_MS)
    parsed = SubmissionReference.parse(reference)
    assert parsed
    assert not await installation.service.auto_resend(installation.build_caller(), "p1", parsed)
    assert 1 == len(installation.router.messages)


async def test_the_reference_of_one_kind_finds_nothing_of_the_other(
    installation: Installation,
) -> None:
    """A receipt for the same bits under the other letter is unknown."""
    sent = await installation.deliver()
    id_ = installation.get_challenge_id(sent)

    assert not await deliver_receipt(
        installation, sent, "delivered", reference=f"shop.c{id_[1:]}.1.1"
    )


async def test_nothing_taken_is_refunded_and_keeps_the_cooldown(
    installation: Installation,
) -> None:
    """502 with the id; GET shows what the providers said, and after the cooldown it may be tried."""
    for _ in range(3):
        installation.router.queue_replies(PROVIDER_REFUSAL, PROVIDER_REFUSAL)
        with pytest.raises(DeliveryFailed) as failure:
            await installation.deliver()
        with pytest.raises(RateLimited):
            await installation.deliver()
        installation.advance_clock(31 * SECOND_MS)

    snapshot = await installation.service.get_delivery(
        installation.build_caller(), failure.value.challenge_id
    )
    assert snapshot.challenge
    assert "technical-failure" == compute_delivery_status(snapshot.challenge.submissions)
    for _ in range(5):  # all of SendsPerNumberAndTenant is left
        await installation.deliver()
        installation.advance_clock(31 * SECOND_MS)
    types = Counter(await installation.list_event_types())
    assert (6, 5) == (types["delivery.provider_failed"], types["delivery.sent"])
    assert not [kind for kind in types if kind.startswith("otp.")]


async def test_a_refused_number_and_an_unknown_outcome_keep_their_charges(
    installation: Installation,
) -> None:
    """422 `undeliverable`, and 201 that is pending: as on issue."""
    installation.router.queue_replies(RECIPIENT_REFUSAL)
    with pytest.raises(Undeliverable):
        await installation.deliver()
    installation.advance_clock(31 * SECOND_MS)
    installation.router.queue_replies(UNKNOWN_OUTCOME, ACCEPTED_REPLY)  # two messages are charged
    sent = await installation.deliver()
    installation.advance_clock(31 * SECOND_MS)
    installation.router.queue_replies(UNKNOWN_OUTCOME)
    pending = await installation.deliver()

    assert sent.challenge
    assert pending.challenge
    assert "pending" == compute_delivery_status(pending.challenge.submissions)
    installation.advance_clock(31 * SECOND_MS)
    await installation.deliver()  # the fifth message
    installation.advance_clock(31 * SECOND_MS)
    with pytest.raises(RateLimited):
        await installation.deliver()


async def test_a_full_queue_of_sends_charges_nothing(installation: Installation) -> None:
    """503 `overloaded`, before any bucket."""
    slots = installation.dependencies.send_slots
    with slots.acquire("shop", 1000), pytest.raises(Overloaded):
        await installation.deliver()

    assert [] == await installation.list_keys("*limit*")


async def test_a_locked_number_gets_no_code_of_another_product(
    installation: Installation,
) -> None:
    """403, as on issue: an operator unlocks it."""
    phone = parse_number(NUMBER)
    charge = build_consecutive_failure_charge(installation.tenants["shop"], phone)
    failures = msgspec.structs.replace(charge, cost=100, force=True)
    partition = installation.store.get_number_partition(phone.canonical)
    await installation.store.commit(
        Commit(partition=partition, operation_id="failures", charges=(failures,))
    )

    with pytest.raises(NumberLocked):
        await installation.deliver()


async def test_a_forgotten_number_has_no_delivery(installation: Installation) -> None:
    """The operators' `forget` deletes it with the challenges."""
    sent = await installation.deliver()
    operators = NumberAdmin(installation.store, installation.keys.pseudonym)

    erased = await operators.erase_number(
        parse_number(NUMBER), NumberErased(id="1"), "operation-1", tenants=["shop", "bank"]
    )

    assert 1 == erased.challenges
    with pytest.raises(DeliveryNotFound):
        await read_delivery(installation, sent)
