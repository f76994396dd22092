"""What a keyword changes, and for whom: pure decisions (issue of two-way SMS)."""

import msgspec
import pytest

from otp_service.core.do_not_send import (
    ALL_TENANTS,
    DoNotSendEntry,
    InboundState,
    StoredOptOut,
    UnreadableEntry,
)
from otp_service.core.inbound import InboundMessage, InboundResult, Keyword
from otp_service.core.inbound_decision import (
    AnsweredSender,
    HelpRequest,
    NoChange,
    OptIn,
    OptOut,
    decide_inbound,
)
from otp_service.core.opt_out_scope import (
    OptOutScopes,
    build_opt_out_scopes,
    choose_scope,
    normalize_own_number,
)


NUMBER, OWN = "+447400123456", "447400999001"
SENDER = AnsweredSender("p1", OWN, "shop")
NOTHING_STORED = InboundState(1000, is_expected=True, is_repeated=False)


def store_opt_out(tenant: str, provider: str = "p1", own_number: str = OWN) -> StoredOptOut:
    return StoredOptOut(tenant, DoNotSendEntry(NUMBER, 1, provider, own_number), f"key {tenant}")


def build_state(*opt_outs: StoredOptOut) -> InboundState:
    return InboundState(1000, is_expected=True, is_repeated=False, opt_outs=opt_outs)


@pytest.mark.parametrize(
    ("keyword", "decision"),
    [
        (Keyword.STOP, OptOut("shop")),
        (Keyword.START, NoChange(InboundResult.UNCHANGED)),
        (Keyword.HELP, HelpRequest("shop")),
    ],
)
def test_a_keyword_of_a_number_without_an_opt_out(keyword, decision):
    """STOP opts out for the tenant whose message was answered; a START without a STOP changes nothing."""
    assert decision == decide_inbound(keyword, SENDER, NOTHING_STORED)


@pytest.mark.parametrize("keyword", Keyword)
def test_a_keyword_of_a_number_that_nothing_was_sent_to_changes_nothing(keyword):
    """A forged sender cannot opt a number out or in that this provider has not sent to lately."""
    state = InboundState(1, is_expected=False, is_repeated=False, opt_outs=(store_opt_out("shop"),))

    assert NoChange(InboundResult.UNEXPECTED) == decide_inbound(keyword, SENDER, state)


@pytest.mark.parametrize("keyword", Keyword)
def test_a_message_that_has_made_its_change_changes_nothing(keyword):
    """A vendor's late repeat of a STOP does not undo a START."""
    state = InboundState(1, is_expected=True, is_repeated=True)

    assert NoChange(InboundResult.UNCHANGED) == decide_inbound(keyword, SENDER, state)


def test_a_second_stop_changes_nothing_and_one_for_another_tenant_does():
    """An opt-out from all tenants does not replace one from a tenant: either may be lifted alone."""
    state = build_state(store_opt_out("shop"))

    assert NoChange(InboundResult.UNCHANGED) == decide_inbound(Keyword.STOP, SENDER, state)
    for others in ((store_opt_out("bank"),), (store_opt_out(ALL_TENANTS),)):
        assert OptOut("shop") == decide_inbound(Keyword.STOP, SENDER, build_state(*others))


def test_start_lifts_what_has_its_scope_and_what_came_the_same_way():
    """Another provider's, another number's and another tenant's opt-outs stay."""
    shop, unrelated = store_opt_out("shop", "p2", "other"), store_opt_out("bank", "p1", "other")
    same_way, other_provider = store_opt_out("bank"), store_opt_out("bank", "p2")
    state = build_state(shop, unrelated, same_way, other_provider)

    decision = decide_inbound(Keyword.START, SENDER, state)

    assert OptIn((shop, same_way)) == decision
    assert decision.tenant == ALL_TENANTS
    only_shop = decide_inbound(Keyword.START, SENDER, build_state(shop, unrelated))
    assert (OptIn((shop,)), "shop") == (only_shop, only_shop.tenant)


def test_start_to_the_only_tenant_lifts_an_opt_out_from_all_tenants():
    """Such as one of an import, or from the time of a second tenant; another tenant's stays."""
    only = msgspec.structs.replace(SENDER, is_only_tenant=True)
    imported, former = store_opt_out(ALL_TENANTS, "", ""), store_opt_out("bank", "p2")
    state = build_state(imported, former)

    assert OptIn((imported,)) == decide_inbound(Keyword.START, only, state)
    assert NoChange(InboundResult.UNCHANGED) == decide_inbound(Keyword.START, SENDER, state)


def test_start_lifts_an_unreadable_opt_out_of_its_scope_alone():
    """It refuses sends, so its person must be able to end that; how another one came is unknown."""
    own, other = (StoredOptOut(name, UnreadableEntry("no"), name) for name in ("shop", "bank"))

    assert OptIn((own,)) == decide_inbound(Keyword.START, SENDER, build_state(own, other))


@pytest.mark.parametrize(
    ("own_number", "scope"),
    [
        ("447400999001", "shop"),
        ("447400999002", ALL_TENANTS),  # of two tenants
        ("447400999003", ALL_TENANTS),  # of a tenant and of a provider
        ("12345", ALL_TENANTS),
        ("", ALL_TENANTS),
    ],
)
def test_an_opt_out_is_for_the_tenant_whose_own_sender_was_answered(own_number, scope):
    """Every other sender may have sent for every tenant."""
    senders = {"shop": "+447400999001", "bank": "+44 7400 999002", "club": "447400999002"}
    senders |= {"pool": "+447400999003", "none": None}
    scopes = build_opt_out_scopes(senders, ["+447400999003", ""], {"shop", "bank"})

    assert scope == choose_scope(scopes, own_number)


def test_an_opt_out_is_for_the_only_tenant_that_can_send():
    """Also if it has no sender of its own; with a second tenant it is for all."""
    alone, two = (build_opt_out_scopes({}, (), names) for names in ({"shop"}, {"shop", "bank"}))

    assert ("shop", ALL_TENANTS) == (choose_scope(alone, "1"), choose_scope(two, "1"))
    assert ALL_TENANTS == choose_scope(OptOutScopes(), "")


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("+44 7400-999001", "447400999001"),
        ("Example", "Example"),
        ("\N{FULLWIDTH DIGIT ONE}2", "2"),
        ("x" * 20, "x" * 20),
        ("x" * 21, ""),
        ("", ""),
        ("\n\x1b[31m", "31m"),
    ],
)
def test_our_number_is_recorded_as_letters_and_digits(text, normalized):
    """It is written by the provider into events and tables, so it is bounded."""
    assert normalized == normalize_own_number(text)


def test_a_message_shows_neither_number_nor_text_where_it_is_printed():
    """Its text may hold a code."""
    message = InboundMessage(NUMBER, "my code is 471093", OWN, "id-1")
    shown = f"{message!r}{message!s}{message.__rich_repr__()}"

    assert not [value for value in (NUMBER, "471093", OWN) if value in shown]
