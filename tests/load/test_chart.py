"""Charts: where things stand, and what is written beside them."""

import json
import math
import re
from html import unescape
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.load.chart import HEIGHT, WIDTH, Line, Scale, chart, nice_step, scale_for, words


def drawn(text: str) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", text)
    assert found is not None
    return ElementTree.fromstring(found[0])


@given(st.floats(1e-6, 1e9))
def test_a_step_is_one_two_or_five_times_a_power_of_ten_and_wide_enough(least: float):
    step = nice_step(least)
    assert least * 0.99999 <= step <= least * 10.001
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 1e-6


@given(st.lists(st.floats(0, 1e9), min_size=1), st.booleans())
def test_every_value_has_its_place_between_the_ends(values: list[float], is_log: bool):
    scale = scale_for(values, is_log=is_log)
    assert all(-1e-9 <= scale.share(value) <= 1 + 1e-9 for value in values)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 22
    assert ticks[0] == pytest.approx(scale.low)
    assert ticks[-1] == pytest.approx(scale.high)


def test_a_logarithmic_scale_gives_each_power_of_ten_the_same_room():
    scale = Scale(1.0, 1000.0, True)
    assert [scale.share(value) for value in (1, 10, 100, 1000)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )


def test_lines_stand_within_the_picture_and_can_be_read_back():
    points = [(0.0, 5.0), (10.0, 50.0), (20.0, 20.0)]
    text = chart("Latency", "ms", [Line("p99", points)], [(0.0, 20.0, "steady")])
    (line,) = drawn(text).findall("polyline")
    placed = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in placed)
    assert [x for x, _ in placed] == sorted(x for x, _ in placed)
    assert min(placed, key=lambda one: one[1]) == placed[1]  # the highest value is highest
    found = re.search(r'data-chart="([^"]*)"', text)
    assert found is not None
    assert json.loads(unescape(found[1]))["lines"] == [["p99", [[x, y] for x, y in points]]]
    assert "steady" in text


def test_what_is_written_cannot_become_markup():
    text = chart("<b>", "ms", [Line("<script>", [(0, 1)])], [(0, 1, "</svg>")])
    assert "<script>" not in text
    assert "<b>" not in text.replace("<b></b>", "")
    assert len(re.findall("</svg>", text)) == 1


def test_nothing_is_drawn_without_points():
    assert chart("a", "b", []) == ""
    assert chart("a", "b", [Line("empty", [])]) == ""


def test_a_single_point_is_a_chart_too():
    assert drawn(chart("a", "b", [Line("one", [(3.0, 0.0)])])) is not None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.1, "0.1"), (1500, "1,500"), (20_000, "20 k"), (1_500_000, "1.5 M")],
)
def test_axes_show_short_numbers(value: float, shown: str):
    assert words(value) == shown
