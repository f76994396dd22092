"""What an operator should look at: its kinds, what each means, and what to do about it."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from otp_service.audit.query.criteria import EventCriteria


Weight = Literal["alarm", "notice"]
"""An alarm is an attack or a fault until it is explained; a notice is often harmless."""

AnomalyKind = Literal[
    "accepted",
    "wrong-codes",
    "attempts-exhausted",
    "client-ip-changed",
    "pumping",
    "wrong-keys",
    "locked",
    "guessing",
    "replays",
    "copies",
    "conversion",
    "refusals",
    "recoveries",
    "deliveries",
    "opt-outs",
    "ignored-messages",
    "unverified-range",
    "would-refuse",
    "brake-refusals",
]

Dimension = Literal[
    "country",
    "prefix",
    "provider",
    "tenant",
    "hour",
    "number",
    "account",
    "challenge",
    "limit",
    "log",
]


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look at, and the filters that find its events in the period."""

    kind: AnomalyKind
    weight: Weight
    dimension: Dimension
    name: str
    """The value of the dimension: a country, a pseudonym, an hour; empty for the whole log."""
    now: float
    before: float
    """The same in the period before; 0 where the rule needs none."""
    sentence: str
    meaning: str
    remedy: str
    criteria: EventCriteria
    """With a period of its own for an hour. Empty if no search finds the events."""


NO_EVENTS: Final = EventCriteria()
"""The criteria of what no search finds."""


class AnomalyGuide(NamedTuple):
    """What a kind means to an operator."""

    weight: Weight
    meaning: str
    remedy: str


ANOMALY_GUIDES: Final[Mapping[AnomalyKind, AnomalyGuide]] = {
    "accepted": AnomalyGuide(
        "alarm",
        "One code let two calls in: a failover lost the first success, or records in Redis were changed.",
        "End the sessions of both logins, run 'otp-service audit verify', and check who can write to Redis.",
    ),
    "wrong-codes": AnomalyGuide(
        "alarm",
        "More wrong codes than a person types: the code is guessed by an attacker who has the password.",
        "Have the person change the password, and block the client IPs of the events at the login page.",
    ),
    "attempts-exhausted": AnomalyGuide(
        "alarm",
        "Codes were wrong until no attempt was left. Few people mistype so often; a guesser always does.",
        "Open the events. One number again and again: that person is attacked. Many numbers: block the"
        " client IPs that they share.",
    ),
    "client-ip-changed": AnomalyGuide(
        "alarm",
        "The code came from another client IP than the login was begun at: a phished or forwarded code,"
        " or a device that changed its network.",
        "Compare both client IPs in the timeline of each challenge. If the person does not know one of"
        " them, end the session and change the password.",
    ),
    "pumping": AnomalyGuide(
        "alarm",
        "Many messages and hardly a code that came back: logins are started to earn money with messages"
        " (SMS pumping), or the messages do not arrive.",
        "Compare with the delivery reports. If they arrive, set the tenant to the setting pumping ="
        " \"refuse\", close the range or the country for now with 'otp-service pumping block', and ask for"
        " proof of work before a code is sent: docs/pumping.md.",
    ),
    "wrong-keys": AnomalyGuide(
        "alarm",
        "Calls came without a valid key or scope: a back end with an old key, or an attacker who tries keys.",
        "Find the caller in the service's log by status 401 and 403. Nothing but back ends should reach"
        " this service.",
    ),
    "locked": AnomalyGuide(
        "alarm",
        "Too many failures in a row: no login with it is possible until an operator unlocks it.",
        "Talk to the person, read the events, and then unlock: 'otp-service unlock', or 'accounts unlock'.",
    ),
    "guessing": AnomalyGuide(
        "alarm",
        "A few wrong codes at each of many accounts (spraying), which no limit of one account detects.",
        "Block the client IPs of the events, and tighten FailuresPerTenant.",
    ),
    "replays": AnomalyGuide(
        "notice",
        "Codes were right and used before: a form that is sent twice, or codes that were read by a third"
        " party.",
        "Open the events. The same account from two client IPs: end its sessions.",
    ),
    "copies": AnomalyGuide(
        "alarm",
        "Events occur twice: calls were repeated after a failover, or a client of Redis has copied them.",
        "Run 'otp-service audit verify', which distinguishes the two and names each of them.",
    ),
    "conversion": AnomalyGuide(
        "alarm",
        "Fewer codes come back than before: messages do not arrive, the login page is broken, or messages"
        " are pumped.",
        "Look at the delivery reports by provider and country, and move traffic to another provider.",
    ),
    "refusals": AnomalyGuide(
        "alarm",
        "Limits refuse far more calls than usual: an attack that they stop, or a limit that is too low.",
        "Look at the refusals by reason. If people are refused, empty the bucket with"
        " 'otp-service reset-limit'.",
    ),
    "recoveries": AnomalyGuide(
        "notice",
        "Far more people than usual use a recovery code: codes do not arrive, or sets of codes were stolen.",
        "Look at delivery and authenticator events of the same hours, then at the accounts.",
    ),
    "deliveries": AnomalyGuide(
        "alarm",
        "Far more codes of other products than before, or far fewer of them arrive: pumping through that"
        " product, a stolen key with the scope deliver, or a provider that loses messages. Whether such"
        " codes come back is unknown here.",
        "Ask the product how many of its codes came back, and compare the receipts by provider and country.",
    ),
    "opt-outs": AnomalyGuide(
        "alarm",
        "Far more people than usual opted out, and get no code until they answer START: senders are forged"
        " to keep people out, or people get codes that they did not ask for (pumping).",
        "Ask some of them. If it was forged, change the provider's inbound_token, and lift the opt-outs with"
        " 'otp-service unblock'; 'otp-service opted-out' lists them.",
    ),
    "ignored-messages": AnomalyGuide(
        "alarm",
        "STOP had no effect: senders are forged, or the provider's address, token or form of numbers is"
        " wrong, and people who opt out still get codes.",
        "Compare the setup at the vendor with docs/inbound.md. Keywords for another product with the same"
        " number are harmless.",
    ),
    "unverified-range": AnomalyGuide(
        "alarm",
        "No code that is sent to these numbers is entered. SMS pumping buys whole ranges, and a few"
        " messages to each of many ranges stay below every limit.",
        "Compare with other ranges of the country. For pumping find a number of the range at the login"
        " page, and close it: 'otp-service pumping block range:NUMBER --for 12h --reason TEXT', without its"
        " last four digits.",
    ),
    "would-refuse": AnomalyGuide(
        "alarm",
        "A tenant only records, so these messages were sent and paid for. With the setting pumping ="
        ' "refuse" they would not have been.',
        "If few of the numbers verified, set the tenant to refuse. If many did, the floors are too low for"
        " you: try others with 'otp-service pumping replay'.",
    ),
    "brake-refusals": AnomalyGuide(
        "notice",
        "The brake on SMS pumping refused messages. Numbers that verify within a day are people.",
        "If many of them are people, open the scope of this limit for some hours: 'otp-service pumping"
        " allow SCOPE --for 6h --reason TEXT'. 'otp-service why -' shows which limits refuse a number.",
    ),
}


def build_anomaly(  # noqa: PLR0913  # the members of one struct, without those of its guide
    kind: AnomalyKind,
    dimension: Dimension,
    name: str,
    sentence: str,
    *,
    now: float,
    before: float = 0,
    weight: Weight | None = None,
    criteria: EventCriteria = NO_EVENTS,
) -> Anomaly:
    """Return an anomaly with what its kind means."""
    guide = ANOMALY_GUIDES[kind]
    return Anomaly(
        kind=kind,
        weight=weight or guide.weight,
        dimension=dimension,
        name=name,
        now=now,
        before=before,
        sentence=sentence,
        meaning=guide.meaning,
        remedy=guide.remedy,
        criteria=criteria,
    )
