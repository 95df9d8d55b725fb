"""Line charts as SVG, drawn by hand: for a page that needs nothing from elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 26, 28
_COLOURS = 8  # as many as the style sheet of the page has
_TICKS = 5
_LOG_LEAST = 0.001  # what is less stands at the foot
_LINEAR_LEAST = 1e-9

Point = tuple[float, float]
Band = tuple[float, float, str]


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Scale:
    """Turns values into places between `low` and `high`, which are such as ticks stand at."""

    low: float
    high: float
    is_log: bool

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.is_log:
            clipped = max(value, self.low)
            return (log10(clipped) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.is_log:
            first, last = round(log10(self.low)), round(log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        step = nice_step((self.high - self.low) / _TICKS)
        count = round((self.high - self.low) / step)
        return [self.low + number * step for number in range(count + 1)]


def nice_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** floor(log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999999)


def scale_for(values: Sequence[float], *, is_log: bool) -> Scale:
    if is_log:
        above = [max(value, _LOG_LEAST) for value in values if value > 0] or [1.0]
        low, high = floor(log10(min(above))), ceil(log10(max(above)))
        return Scale(10.0**low, 10.0 ** max(high, low + 1), True)
    most = max(values, default=0.0)
    if most < _LINEAR_LEAST:
        most = 1.0
    step = nice_step(most / _TICKS)
    return Scale(0.0, ceil(most / step - 1e-9) * step, False)


def chart(
    title: str,
    unit: str,
    lines: Sequence[Line],
    bands: Sequence[Band] = (),
    *,
    is_log: bool = False,
) -> str:
    """A figure with its title, legend, and the values at hand for whoever points at it. Empty
    when there is nothing to draw."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    times = [x for line in lines for x, _ in line.points]
    begin, end = min(times), max(max(times), min(times) + 1)
    scale = scale_for([y for line in lines for _, y in line.points], is_log=is_log)
    place = _Place(begin, end, scale)
    parts = [
        *_bands(place, bands),
        *_grid(place),
        *(_polyline(place, line, number) for number, line in enumerate(lines)),
    ]
    data = {
        "begin": begin,
        "end": end,
        "unit": unit,
        "lines": [[line.name, [[x, y] for x, y in line.points]] for line in lines],
    }
    return (
        f'<figure class="chart" data-chart="{escape(json.dumps(data), quote=True)}">'
        f"<figcaption>{escape(title)} <small>{escape(unit)}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'{"".join(parts)}<line class="cursor" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/></svg>'
        f"{_legend(lines)}</figure>"
    )


@dataclass(frozen=True, slots=True)
class _Place:
    begin: float
    end: float
    scale: Scale

    def x(self, at: float) -> float:
        share = min(max((at - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - _BOTTOM - self.scale.share(value) * (HEIGHT - _TOP - _BOTTOM), 1)


def _bands(place: _Place, bands: Sequence[Band]) -> list[str]:
    parts: list[str] = []
    for number, (begin, end, name) in enumerate(bands):
        left, right = place.x(begin), place.x(end)
        if right <= left:
            continue
        parts.append(
            f'<rect class="band{number % 2}" x="{left}" y="{_TOP}" width="{right - left:.1f}" '
            f'height="{HEIGHT - _TOP - _BOTTOM}"><title>{escape(name)}</title></rect>'
        )
        if right - left > 6 * len(name):
            parts.append(f'<text class="name" x="{left + 3}" y="{_TOP - 8}">{escape(name)}</text>')
    return parts


def _grid(place: _Place) -> list[str]:
    parts: list[str] = []
    for tick in place.scale.ticks():
        y = place.y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 6}" y="{y + 4}">{words(tick)}</text>')
    step = nice_step((place.end - place.begin) / 8)
    at = ceil(place.begin / step) * step
    while at <= place.end:
        parts.append(f'<text class="x" x="{place.x(at)}" y="{HEIGHT - 8}">{words(at)} s</text>')
        at += step
    return parts


def _polyline(place: _Place, line: Line, number: int) -> str:
    points = " ".join(f"{place.x(x)},{place.y(y)}" for x, y in line.points)
    return f'<polyline class="line c{number % _COLOURS}" points="{points}"/>'


def _legend(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li class="c{number % _COLOURS}"><i></i>{escape(line.name)} <b></b></li>'
        for number, line in enumerate(lines)
    )
    return f'<ul class="legend">{items}</ul>'


def words(value: float) -> str:
    """A number as an axis shows it."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    if value >= 10_000:
        return f"{value / 1000:g} k"
    return f"{value:,.6g}"
