"""Persons who log in. There are few, so that actors meet at the same numbers, accounts and addresses."""

from typing import Final

import msgspec

from tests.simulation.world.ports import Chance


TENANTS: Final = ("shop", "bank")

NUMBERS: Final = (
    "+447400123450",
    "+447400123451",
    "+447400123452",
    "+447400129990",  # another range of the same prefix
    "+447912345678",
    "+4915112345678",
)
CLIENT_ADDRESSES: Final = ("198.51.100.7", "198.51.100.8", "203.0.113.9", "2001:db8::17")


class Person(msgspec.Struct, frozen=True):
    """One user of one tenant."""

    tenant: str
    number: str
    account: str | None
    client_ip: str | None


def draw_person(chance: Chance) -> Person:
    """Return one of the few persons, as a back end names it in a call."""
    index = chance.draw_below(len(NUMBERS))
    tenant = chance.pick(TENANTS)
    return Person(
        tenant,
        NUMBERS[index],
        f"{tenant}-user-{index}" if chance.has_luck(0.7) else None,
        chance.pick(CLIENT_ADDRESSES) if chance.has_luck(0.7) else None,
    )


def draw_account_holder(chance: Chance) -> Person:
    """Return a person of whom the back end always names the account."""
    person = draw_person(chance)
    account = person.account or f"{person.tenant}-user-{NUMBERS.index(person.number)}"
    return msgspec.structs.replace(person, account=account)
