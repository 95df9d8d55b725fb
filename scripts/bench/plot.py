"""Lines over a size that grows by powers of ten, as an SVG that stands by itself in a page."""

from collections.abc import Mapping, Sequence
from html import escape

from scripts.load.chart import Point, Scale, scale_for, words

_WIDTH, _HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 34, 96
_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#555}.title{font-weight:600;fill:#333}"
    ".grid{stroke:#8884}polyline{fill:none;stroke-width:2}"
)


def plot(title: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Sizes must be above 0. The axis of values begins at 0."""
    across = scale_for([x for points in lines.values() for x, _ in points], is_log=True)
    upwards = scale_for([y for points in lines.values() for _, y in points], is_log=False)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>',
        *_grid(across, upwards),
    ]
    for number, (name, points) in enumerate(lines.items()):
        parts += _line(name, [(_x(across, x), _y(upwards, y)) for x, y in points], number)
    return "\n".join([*parts, "</svg>", ""])


def _x(scale: Scale, size: float) -> float:
    return round(_LEFT + scale.share(size) * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(scale: Scale, value: float) -> float:
    return round(_HEIGHT - _BOTTOM - scale.share(value) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _grid(across: Scale, upwards: Scale) -> list[str]:
    parts: list[str] = []
    for tick in upwards.ticks():
        y = _y(upwards, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text text-anchor="end" x="{_LEFT - 6}" y="{y + 4}">{words(tick)}</text>')
    foot = _HEIGHT - _BOTTOM
    for tick in across.ticks():
        x = _x(across, tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{foot}"/>')
        parts.append(f'<text text-anchor="middle" x="{x}" y="{foot + 18}">{words(tick)}</text>')
    return parts


def _line(name: str, places: Sequence[Point], number: int) -> list[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    joined = " ".join(f"{x},{y}" for x, y in places)
    column, line = number % 2, number // 2
    x, y = _LEFT + column * 350, _HEIGHT - _BOTTOM + 42 + line * 20
    return [
        f'<polyline stroke="{colour}" points="{joined}"/>',
        *(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in places),
        f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{colour}"/>',
        f'<text x="{x + 12}" y="{y}">{escape(name)}</text>',
    ]
