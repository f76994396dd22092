"""The simulated days on which policies are compared: that they are fair, and that counts add up."""

import statistics
import sys
from xml.etree import ElementTree as ET

import pytest

from bench.simulation import __main__ as command
from bench.simulation import parameters as p
from bench.simulation.ceiling import CEILING, Clairvoyant
from bench.simulation.episodes import LOUD, OUTAGES, Kind
from bench.simulation.gateways import Cap, Gateways
from bench.simulation.measure import BACK, WINDOW, measure, reachable, recovery, share
from bench.simulation.people import Login, Phone
from bench.simulation.play import Day, Story, Walk, _may_send_again
from bench.simulation.plot import plot
from bench.simulation.policies import (
    Exchange,
    FirstOnly,
    News,
    OrderedFallback,
    Request,
)
from bench.simulation.router import POLICIES
from bench.simulation.run import play, table
from bench.simulation.world import World
from otp_service.core.delivery import About, Accepted, Fault, Receipt, Refused, billed


FEW = 1500
SEEDS = range(1, 4)


class Eager(OrderedFallback):
    """Sends after every receipt that it may, through the others, and remembers what it heard."""

    def __init__(self, routes, seed):
        super().__init__(routes, seed)
        self.times = []
        self.asked = []

    def order(self, request):
        self.times.append(request.at)
        return super().order(request)

    def replied(self, exchange, before):
        self.times.append(exchange.at)
        assert all(one.request == exchange.request for one in before)

    def received(self, news):
        self.times.append(news.at)

    def again(self, request, news):
        self.asked.append((request, news))
        return [name for name in super().order(request) if name != news.exchange.provider]

    def verified(self, _request, _provider, at):
        self.times.append(at)


@pytest.fixture(scope="module")
def world():
    """The day of seed 1."""
    return World(1)


@pytest.fixture(scope="module")
def first_only(world):
    """What became of everybody under the first baseline."""
    return Day(world, FirstOnly(p.ROUTES, 1)).play()


@pytest.fixture(scope="module")
def fallback(world):
    """The same under the second."""
    return Day(world, OrderedFallback(p.ROUTES, 1)).play()


def a_login(index=0, at=0.0, phone=Phone.ALIVE):
    """Somebody in GB who waits for five minutes."""
    return Login(index, at, "GB", "+44123456789", phone, 60.0, 300.0, 5.0)


def test_the_same_seed_gives_the_same_result():
    """Twice the same table, letter for letter; another seed gives another."""
    once, again = (play(POLICIES, SEEDS, FEW) for _ in range(2))
    other = play(POLICIES, [9], FEW)

    assert once == again
    assert list(table(once, SEEDS, FEW)) == list(table(again, SEEDS, FEW))
    assert once["first only"][0] != other["first only"][0]


def test_no_policy_changes_the_day(world, first_only, fallback):
    """First submissions have the same fate under both, but for caps: common random numbers."""
    fresh = World(1)
    pairs = list(zip(first_only, fallback, strict=True))
    same = [a.submissions[0] == b.submissions[0] for a, b in pairs]
    throttled = ["429" in (a.submissions[0].reason, b.submissions[0].reason) for a, b in pairs]

    assert (fresh.logins, fresh.episodes) == (world.logins, world.episodes)
    assert all(like or capped for like, capped in zip(same, throttled, strict=True))
    assert 0.05 > statistics.mean(throttled)


def test_draws_do_not_depend_on_what_was_drawn_before():
    """Each submission has its own, in whatever order it is asked for."""
    forth, back = World(3, FEW), World(3, FEW)
    asked = [
        (login, name, nth) for login in forth.logins[:9] for name in p.PROVIDERS for nth in (0, 1)
    ]

    one_way = [forth.draws(*one) for one in asked]
    other_way = [back.draws(*one) for one in reversed(asked)]

    assert one_way == other_way[::-1]
    assert len(asked) == len(set(one_way))


def test_a_day_holds_every_kind_of_bad_time_for_every_provider(world):
    """Ten minutes to an hour each, and over by the end of the day."""
    lasted = [episode.end - episode.start for episode in world.episodes]

    assert all(600 <= seconds <= 3600 for seconds in lasted)
    assert all(0 < one.start < one.end <= p.DAY for one in world.episodes)
    for provider in p.PROVIDERS:
        kinds = {one.kind for one in world.episodes if one.provider == provider}
        assert kinds >= {Kind.HIDDEN, Kind.BROWN_OUT, Kind.THROTTLING, Kind.SLOW}
        assert kinds & set(LOUD)


def test_first_only_suffers_in_outages(world, first_only):
    """Most who log in while their favourite is out get nothing; the others get their code."""
    hit, spared = [], []
    for story in first_only:
        country, at = story.login.country, story.login.at
        troubles = world.troubles(p.ROUTES[country][0].provider, country, at)
        (hit if troubles.keys() & set(OUTAGES) else spared).append(story)

    assert 500 < len(hit) < len(spared)
    assert 0.5 > share(hit)
    assert 0.9 < share(spared)


def test_ordered_fallback_delivers_more_and_costs_more_and_the_router_beats_both():
    """On every day; over all 20 the router is under 1.1 messages a login (README), here near it."""
    results = play(POLICIES, SEEDS)

    assert 1.11 > statistics.mean(one.messages for one in results["this router"])
    for first, ordered, ours in zip(*results.values(), strict=True):
        assert ordered.delivered < ours.delivered
        assert ours.messages < ordered.messages
        assert first.delivered + 0.03 < ordered.delivered
        assert first.messages < ordered.messages
        assert first.cents < ordered.cents
        assert ordered.after_loud < first.after_loud


def test_nobody_passes_the_clairvoyant(world, fallback):
    """Who knows the outages delivers more with fewer messages; dead numbers stop even them."""
    best = measure(world, Day(world, Clairvoyant(p.ROUTES, 1)).play())
    ordered = measure(world, fallback)

    assert ordered.delivered < best.delivered < reachable(world)
    assert best.messages < ordered.messages


def test_counts_add_up(first_only, fallback):
    """Each submission is accepted, refused or unknown; what went out may be billed."""
    for stories in (first_only, fallback):
        assert p.LOGINS == len(stories)
        for story in stories:
            made = story.submissions
            assert story.providers == [submission.provider for submission in made]
            assert {one.outcome for one in made} <= {"accepted", "refused", "unknown"}
            assert billed(made) == sum(one.outcome != "refused" for one in made)
            assert billed(made) >= story.sent >= (story.arrived is not None)
            assert (story.cents > 0) == (story.sent > 0)


def test_a_walk_ends_where_the_router_ends_it(fallback):
    """With an acceptance or a recipient's fault, after three submissions, within 8 s."""
    for story in fallback:
        walks = [[]]
        for one in story.submissions:
            if walks[-1] and one.at == 0:
                walks.append([])
            walks[-1].append(one)
        assert story.sends == len(walks) <= 2
        for walk in walks:
            assert 1 <= len(walk) <= 3
            assert all(one.at < 8000 and one.at + one.milliseconds <= 8001 for one in walk)
            assert all(
                one.outcome != "accepted" and one.fault is not Fault.RECIPIENT for one in walk[:-1]
            )


def test_people_ask_once_more_and_lose_their_patience(fallback):
    """Who has a code in time does not ask; nobody's code counts after they left."""
    for story in fallback:
        login = story.login
        waited = None if story.arrived is None else story.arrived - login.at
        wants_more = login.resends_after is not None
        if waited is None or (wants_more and waited > login.resends_after):
            assert 1 + wants_more == story.sends
        else:
            assert 1 == story.sends
            assert waited < login.patience
            assert story.verified == story.arrived + login.typing


def test_a_policy_hears_of_things_when_they_happen():
    """Replies, receipts and verifications in the order of their times, never before."""
    policy = Eager(p.ROUTES, 2)

    Day(World(2, FEW), policy).play()

    assert 3 * FEW < len(policy.times)
    assert policy.times == sorted(policy.times)


def test_a_receipt_starts_one_send_and_only_where_the_service_would():
    """Technical failures of the newest code, not verified, 60 s left, once a challenge."""
    policy, plain = Eager(p.ROUTES, 2), OrderedFallback(p.ROUTES, 2)

    stories = Day(World(2, FEW), policy).play()
    without = Day(World(2, FEW), plain).play()

    again = [story for story in stories if story.was_sent_again]
    assert len(again) == len(policy.asked) > 20
    assert len(again) == len({request.challenge for request, _ in policy.asked})
    for request, news in policy.asked:
        assert "technical-failure" == news.receipt.status
        assert request.at - news.exchange.request.at < p.CODE_LIFE - p.LAST_MINUTE
        assert request.earlier[-1] == news.exchange.provider
    assert share(stories) > share(without)


@pytest.mark.parametrize(
    ("changes", "at", "status", "expected"),
    [
        ({}, 239.0, "technical-failure", True),
        ({}, 240.0, "technical-failure", False),
        ({}, 30.0, "permanent-failure", False),
        ({}, 30.0, "temporary-failure", False),
        ({}, 30.0, "delivered", False),
        ({"sends": 2}, 30.0, "technical-failure", False),
        ({"providers": ["atlas", "bravo"]}, 30.0, "technical-failure", False),
        ({"verified": 20.0}, 30.0, "technical-failure", False),
        ({"was_sent_again": True}, 30.0, "technical-failure", False),
    ],
)
def test_each_condition_of_a_send_after_a_receipt_counts(changes, at, status, expected):
    """A minute left, failed for good, the newest code and provider, not verified, the first."""
    story = Story(a_login(), **{"sends": 1, "providers": ["atlas"], **changes})
    request = Request(0.0, 0, "+44123456789", "GB")
    exchange = Exchange(request, "atlas", Accepted(), 0.3, 0.3)

    news = News(exchange, Receipt(status), at)

    assert expected == _may_send_again(at, Walk(story, request, ("atlas",), 1), news)


def test_recovery_is_counted_to_the_first_good_window():
    """Ten minutes of nothing, then everybody: back when a window of 30 holds 95 %."""
    stories = [
        Story(a_login(at=10.0 * number), arrived=1.0 if number >= 60 else None)
        for number in range(200)
    ]

    assert 10.0 * (60 - WINDOW * (1 - BACK) // 1) == recovery(0.0, stories, 1.0)
    assert 0.0 == recovery(600.0, stories[60:], 1.0)
    assert p.DAY == recovery(0.0, stories[:60], 1.0)


def test_receipts_come_as_late_as_the_readme_says():
    """6 s at the median and 60 s at the 95th percentile, and one in ten never."""
    worlds = [World(seed) for seed in SEEDS]
    draws = [
        world.draws(login, provider, 0)
        for world in worlds
        for login in world.logins
        for provider in p.PROVIDERS
    ]

    delays = [p.TRANSIT.at(one.transit) + p.LAG.at(one.lag) for one in draws]
    cuts = statistics.quantiles(delays, n=20)

    assert pytest.approx(6, rel=0.1) == cuts[9]
    assert pytest.approx(60, rel=0.1) == cuts[18]
    assert pytest.approx(0.1, abs=0.01) == statistics.mean(one.never < p.NEVER for one in draws)


def test_over_its_cap_a_provider_asks_for_time(world):
    """What comes at once beyond two seconds' worth is throttled, usually with a time to wait."""
    gateways = Gateways(world)

    replies = [gateways.submit(a_login(index), "bravo", 0, 0.0).reply for index in range(60)]
    throttled = [one for one in replies if isinstance(one, Refused) and one.reason == "429"]

    assert 58 == len(throttled)
    assert {About.THROTTLED} == {one.about for one in throttled}
    waits = [one.retry_after for one in throttled]
    assert None in waits
    assert all(5 <= wait <= 30 for wait in waits if wait is not None)


def test_a_cap_refills_with_time_and_slowly_in_throttling():
    """One a second; a twentieth of that while throttled."""
    cap = Cap(1.0)

    taken = [cap.takes(0.0, is_throttled=False) for _ in range(3)]
    after = [cap.takes(at, is_throttled=True) for at in (1.0, 19.0, 21.0)]

    assert [True, True, False] == taken
    assert [False, False, True] == after


def test_dead_numbers_are_never_delivered_and_seldom_named_so(world):
    """Refused as such, with an unknown code, or accepted; no provider reaches them."""
    gateways = Gateways(world)

    fates = [
        gateways.submit(a_login(index, 10.0 * index, Phone.DEAD), "atlas", 0, 10.0 * index)
        for index in range(150)  # 25 quiet minutes: bad times begin after half an hour
    ]
    reasons = [fate.reply.reason for fate in fates if isinstance(fate.reply, Refused)]

    assert {None} == {fate.arrives for fate in fates}
    assert 40 < reasons.count("not-in-service") < 80
    assert 5 < reasons.count("unknown-code") < 30


def test_the_plot_shades_each_outage_and_has_a_line_for_each_policy(world):
    """Well-formed SVG, without a library."""
    drawn = ET.fromstring(plot({**POLICIES, **CEILING}, 1))  # noqa: S314  # our own

    svg = "{http://www.w3.org/2000/svg}"
    titles = [one.text for one in drawn.iter(f"{svg}title")]
    for episode in world.episodes:
        name = f"{episode.provider}, {episode.country or 'everywhere'}: {episode.kind}"
        shown = (episode.kind in OUTAGES) + (episode.kind is not Kind.SLOW)
        assert titles.count(name) >= shown
    assert len(POLICIES) + 1 == len(list(drawn.iter(f"{svg}polyline")))


def test_the_command_prints_the_table_and_writes_the_plot(monkeypatch, capsys, tmp_path):
    """One row for each policy, and for who knew the outages."""
    target = tmp_path / "day.svg"
    monkeypatch.setattr(sys, "argv", ["simulation", "--seeds", "1", "--plot", str(target)])

    assert 0 == command.main()

    printed = capsys.readouterr().out
    assert all(name in printed for name in (*POLICIES, *CEILING))
    assert "97.0 % of the numbers can be reached" in printed
    assert target.read_text(encoding="utf-8").startswith("<svg")
