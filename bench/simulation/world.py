"""The outage model: what each provider answers at each time, and what becomes of the message.

    in a loud outage                 refused, or no answer, as the table LOUD says
    over the account's cap           refused: throttled, usually with a time to wait
    a number that is dead for good   refused as such, with a code nobody knows, or accepted
    now and then                     refused, or a read timeout although it was sent
    otherwise                        accepted; it arrives, or is lost; a receipt comes, or none

What a policy does changes none of the draws. A day is drawn from its seed before anybody sends;
each submission has draws of its own, from the seed, the login, the provider, and how many this
login has made to it: two policies that do the same at the same time see the same. The one thing
that depends on what was sent before is the cap, as it does in life.
"""

from functools import cache
from random import Random

import msgspec

from bench.simulation import episodes, people
from bench.simulation import parameters as p
from bench.simulation.episodes import Episode, Kind
from bench.simulation.people import Login
from otp_service.core.delivery import About, Fault, Refused


class Draws(msgspec.Struct, frozen=True):
    """All that is left to chance about one submission: each uniform between 0 and 1."""

    trouble: float
    dead: float
    refused: float
    sent: float
    lost: float
    verdict: float
    never: float
    latency: float
    transit: float
    lag: float
    wait: float


class World:
    """One day: its logins, its bad times, and chance. Every policy lives through the same."""

    def __init__(self, seed: int, logins: int = p.LOGINS) -> None:
        self.seed = seed
        self.logins = people.draw(_chance(seed, "logins"), logins)
        self.episodes = episodes.draw(_chance(seed, "episodes"))
        self._felt = {
            (provider, country): [
                episode
                for episode in self.episodes
                if episode.provider == provider and episode.concerns(country)
            ]
            for provider in p.PROVIDERS
            for country in p.COUNTRIES
        }
        # Policies share what was drawn; it would be the same again, and drawing is what takes time.
        self.draws = cache(self._draws)

    def troubles(self, provider: str, country: str, at: float) -> dict[Kind, Episode]:
        """Return what is wrong with a provider in a country now; of one kind, what came last."""
        return {
            episode.kind: episode
            for episode in self._felt[provider, country]
            if episode.lasts_at(at)
        }

    def _draws(self, login: Login, provider: str, nth: int) -> Draws:
        chance = _chance(self.seed, f"{login.number_of_day}/{provider}/{nth}")
        return Draws(*(chance.random() for _ in Draws.__struct_fields__))


def _chance(seed: int, what: str) -> Random:
    return Random(f"{seed}/{what}")  # noqa: S311  # nobody gains by guessing it


class Loud(msgspec.Struct, frozen=True):
    """How a loud outage answers."""

    reply: Refused
    seconds: float | None = None
    """Until the answer; None for as long as on a good day."""
    sent: float = 0.0
    """Share of the messages that went out all the same."""


SILENCE = Refused(Fault.UNKNOWN, "read-timeout", about=About.SILENCE)

LOUD = {
    Kind.DOWN: Loud(
        Refused(Fault.PROVIDER, "connect-timeout", about=About.SILENCE), p.CONNECT_TIMEOUT
    ),
    Kind.SILENT: Loud(SILENCE, p.READ_TIMEOUT, p.SENT_IN_SILENCE),
    Kind.FAILING: Loud(Refused(Fault.UNKNOWN, "500"), None, p.SENT_IN_FAILURE),
    Kind.ACCOUNT: Loud(Refused(Fault.PROVIDER, "no-credit", about=About.ACCOUNT)),
    Kind.REFUSING: Loud(Refused(Fault.PROVIDER, "no-route")),
}
