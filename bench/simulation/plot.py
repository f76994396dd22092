"""Draws one day as SVG: the delivered share over time, and whose bad times those were."""

import bisect
from collections.abc import Iterator, Mapping, Sequence

from bench.simulation import parameters as p
from bench.simulation.episodes import LOUD, OUTAGES, Episode, Kind
from bench.simulation.measure import share
from bench.simulation.people import Phone
from bench.simulation.play import Day, Story
from bench.simulation.policies import MakePolicy
from bench.simulation.world import World


WIDTH, HEIGHT, LANE = 1000, 320, 44
LEFT, TOP, RIGHT = 70, 50, 20
EVERY, AROUND = 120.0, 300.0
"""Seconds from point to point, and to both sides of it that its share is taken over."""
LINES = ("#c0392b", "#2471a3", "#1e8449", "#7d3c98")
"""Of the policies, in their order; the last one is dashed."""
SHADES = {
    Kind.HIDDEN: "#7d3c98",
    Kind.BROWN_OUT: "#d68910",
    Kind.THROTTLING: "#909497",
} | dict.fromkeys(LOUD, "#c0392b")


def plot(policies: Mapping[str, MakePolicy], seed: int) -> str:
    """Return the day of this seed as SVG."""
    world = World(seed)
    bottom = TOP + HEIGHT + LANE * len(p.PROVIDERS)
    drawn = [*_frame(seed), *_outages(world.episodes), *_lanes(world.episodes)]
    for number, (name, make) in enumerate(policies.items()):
        drawn += _line(number, name, Day(world, make(p.ROUTES, seed)).play(), len(policies))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 76}">',
            f'<rect width="{WIDTH}" height="{bottom + 76}" fill="#ffffff"/>',
            '<g font-family="sans-serif" font-size="12" fill="#222222">',
            *drawn,
            "</g>\n</svg>\n",
        ]
    )


def _x(at: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(at, p.DAY) / p.DAY


def _y(part: float) -> float:
    return TOP + HEIGHT * (1 - part)


def _frame(seed: int) -> Iterator[str]:
    yield (
        f'<text x="{LEFT}" y="18">Delivered share of logins that can be reached, 10 minutes around '
        f"each point, seed {seed}</text>"
    )
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>'
    bottom = TOP + HEIGHT + LANE * len(p.PROVIDERS)
    for hour in range(int(p.DAY // 3600) + 1):
        x = _x(3600.0 * hour)
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{hour} h</text>'
    yield (
        f'<text x="{LEFT}" y="{bottom + 44}">Shaded: outages. Red: it shows in replies. Violet: '
        "accepted, never delivered. In the lanes also brown-outs (orange), throttling (grey).</text>"
    )
    yield (
        f'<text x="{LEFT}" y="{bottom + 62}">Rows of a lane: everywhere, then '
        f"{', '.join(p.COUNTRIES)}.</text>"
    )


def _outages(episodes: Sequence[Episode]) -> Iterator[str]:
    for one in episodes:
        if one.kind in OUTAGES:
            strength = 0.05 if one.country else 0.12
            yield _box(one, TOP, HEIGHT, strength)


def _lanes(episodes: Sequence[Episode]) -> Iterator[str]:
    for number, provider in enumerate(p.PROVIDERS):
        top = TOP + HEIGHT + LANE * number
        yield f'<text x="{LEFT - 8}" y="{top + 27}" text-anchor="end">{provider}</text>'
        for one in episodes:
            if one.provider == provider and one.kind in SHADES:
                row = 0 if one.country is None else 1 + list(p.COUNTRIES).index(one.country)
                yield _box(one, top + 4 + 8 * row, 7, 0.75)


def _box(one: Episode, top: float, height: float, strength: float) -> str:
    x, end = _x(one.start), _x(one.end)
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{end - x:.1f}" height="{height:.1f}" '
        f'fill="{SHADES[one.kind]}" fill-opacity="{strength}">'
        f"<title>{one.provider}, {one.country or 'everywhere'}: {one.kind}</title></rect>"
    )


def _line(number: int, name: str, stories: Sequence[Story], of: int) -> Iterator[str]:
    points = " ".join(f"{_x(at):.1f},{_y(part):.1f}" for at, part in over_time(stories))
    dash = ' stroke-dasharray="5 4"' if number == of - 1 else ""
    color = LINES[number % len(LINES)]
    yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"{dash}/>'
    x = LEFT + 190 * number
    yield f'<path d="M{x} 36h24" stroke="{color}" stroke-width="2"{dash}/>'
    yield f'<text x="{x + 30}" y="40">{name}</text>'


def over_time(stories: Sequence[Story]) -> Iterator[tuple[float, float]]:
    """Yield points in time, and the delivered share of those who logged in around them."""
    reachable = [story for story in stories if story.login.phone is Phone.ALIVE]
    begins = [story.login.at for story in reachable]
    for number in range(int(p.DAY / EVERY) + 1):
        at = EVERY * number
        low = bisect.bisect_left(begins, at - AROUND)
        high = bisect.bisect_right(begins, at + AROUND)
        if low < high:
            yield at, share(reachable[low:high])
