"""The three providers, as one policy meets them: each submission gets its fate."""

import msgspec

from bench.simulation import parameters as p
from bench.simulation.episodes import Episode, Kind
from bench.simulation.people import Login, Phone
from bench.simulation.world import LOUD, SILENCE, Draws, World
from otp_service.core.delivery import About, Accepted, Fault, Receipt, Refused, Reply


Troubles = dict[Kind, Episode]

ACCEPTED = Accepted()
NOT_IN_SERVICE = Refused(Fault.RECIPIENT, "not-in-service")
UNKNOWN_CODE = Refused(Fault.PROVIDER, "unknown-code")
FILTERED = Refused(Fault.PROVIDER, "filtered")

DELIVERED = Receipt("delivered", is_signed=True)
VERDICTS = {
    Phone.ALIVE: p.VERDICTS_LOST,
    Phone.OFF: p.VERDICTS_OFF,
    Phone.DEAD: p.VERDICTS_DEAD,
}


class Fate(msgspec.Struct, frozen=True):
    """What a provider answers, and what is behind it. Only the reply and the receipt are told."""

    reply: Reply
    seconds: float
    """Until the reply."""
    is_sent: bool = False
    """Whether a message went out, and costs money."""
    arrives: float | None = None
    """When the phone has it."""
    receipt: Receipt | None = None
    receipt_at: float = 0.0


class Gateways:
    """All providers on one day, with what they remember of this policy: how much it has sent."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._caps = {name: Cap(provider.cap) for name, provider in p.PROVIDERS.items()}

    def submit(self, login: Login, provider: str, nth: int, at: float) -> Fate:
        """Return the fate of this login's nth submission to a provider, handed over now."""
        draws = self._world.draws(login, provider, nth)
        troubles = self._world.troubles(provider, login.country, at)
        refused, seconds, sent = self._refusal(login, provider, draws, troubles, at)
        if refused and draws.sent >= sent:
            return Fate(refused, seconds)
        arrives, receipt, receipt_at = _carry(login, provider, draws, troubles, at)
        return Fate(refused or ACCEPTED, seconds, True, arrives, receipt, receipt_at)  # noqa: FBT003  # is_sent

    def _refusal(
        self, login: Login, provider: str, draws: Draws, troubles: Troubles, at: float
    ) -> tuple[Refused | None, float, float]:
        """Return the refusal, if it is one; seconds until the reply; chance that it was sent."""
        seconds = p.LATENCY.at(draws.latency)
        for kind, loud in LOUD.items():
            if kind in troubles and draws.trouble < troubles[kind].severity:
                return loud.reply, loud.seconds or seconds, loud.sent
        if not self._caps[provider].takes(at, is_throttled=Kind.THROTTLING in troubles):
            return _throttled(draws), seconds, 0.0
        if login.phone is Phone.DEAD and draws.dead < p.DEAD_REFUSED + p.DEAD_MISREAD:
            is_known = draws.dead < p.DEAD_REFUSED
            return NOT_IN_SERVICE if is_known else UNKNOWN_CODE, seconds, 0.0
        browned = troubles[Kind.BROWN_OUT].severity if Kind.BROWN_OUT in troubles else 0.0
        times_out = p.TIMES_OUT + browned / 3
        if draws.refused < times_out:
            return SILENCE, p.READ_TIMEOUT, p.SENT_IN_SILENCE
        if draws.refused < times_out + p.REFUSES + browned * 2 / 3:
            return FILTERED, seconds, 0.0
        return None, seconds, 1.0


class Cap:
    """A bucket of tokens that refills with time, twice a second's worth deep."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._deep = self._tokens = 2 * rate
        self._since = 0.0

    def takes(self, at: float, *, is_throttled: bool) -> bool:
        """Take one message, if there is room for it."""
        rate = self._rate * p.THROTTLED_TO if is_throttled else self._rate
        self._tokens = min(self._deep, self._tokens + rate * (at - self._since))
        self._since = at
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _throttled(draws: Draws) -> Refused:
    low, high = p.RETRY_AFTER
    wait = round(low + draws.wait / p.SAYS_RETRY_AFTER * (high - low))
    says = draws.wait < p.SAYS_RETRY_AFTER
    return Refused(Fault.PROVIDER, "429", wait if says else None, About.THROTTLED)


def _carry(
    login: Login, provider: str, draws: Draws, troubles: Troubles, at: float
) -> tuple[float | None, Receipt | None, float]:
    """Return when a message arrives that went out, if it does, and its receipt and when."""
    slower = p.SLOWER if Kind.SLOW in troubles else 1.0
    quality = p.PROVIDERS[provider].carriage[login.country].quality
    if login.phone is Phone.ALIVE and draws.lost < quality * _kept(troubles):
        transit, lag = p.TRANSIT.at(draws.transit), p.LAG.at(draws.lag)
        receipt = None if draws.never < p.NEVER else DELIVERED
        return at + transit, receipt, at + transit + slower * lag
    return None, _verdict(login.phone, draws.verdict), at + slower * p.FAILED.at(draws.lag)


def _kept(troubles: Troubles) -> float:
    """Return the share of what is otherwise delivered that these bad times leave."""
    kept = 1.0
    if Kind.HIDDEN in troubles:
        kept *= 1 - troubles[Kind.HIDDEN].severity
    if Kind.BROWN_OUT in troubles:
        kept *= 1 - troubles[Kind.BROWN_OUT].severity * p.FALSELY_ACCEPTED
    return kept


def _verdict(phone: Phone, chance: float) -> Receipt | None:
    """Return what the receipt says of a message that does not arrive."""
    for receipt, share in VERDICTS[phone]:
        if chance < share:
            return receipt
        chance -= share
    return None
