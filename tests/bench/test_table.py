"""What the benchmarks print: each row beside its bar and its peers."""

from pathlib import Path

import pytest

from scripts.bench.row import Row
from scripts.bench.table import BEGIN, END, missing, table, write_into

PLAIN = Row("one", "one post", 7.5, "µs", "python -m one", bar=8.0, peers={"nchan": 15.0})


def cells(row: Row) -> list[str]:
    line = table([row.as_json()]).splitlines()[-1]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_figure_stands_beside_its_bar_and_its_peers():
    expected = ["one post", "≤ 8 µs", "7.50 µs", "met", "nchan 15 µs", "2", "`python -m one`"]
    assert cells(PLAIN) == expected


def test_a_bar_that_is_missed_is_said_to_be():
    assert cells(Row("one", "one", 9.0, "µs", "one", bar=8.0))[3] == "**missed**"
    assert Row("one", "one", 8.0, "µs", "one", bar=8.0).is_met
    assert cells(Row("one", "one", 9.0, "µs", "one"))[1:4] == ["", "9 µs", ""]


def test_with_a_baseline_the_bar_is_for_the_ratio():
    row = Row("one", "one", 150.0, "ms", "one", bar=1.2, baseline=100.0)
    assert cells(row)[1:4] == ["≤ 1.2 times", "1.50 times (150 ms, 100 ms)", "**missed**"]


def test_a_peer_that_is_not_installed_is_missing_and_not_left_out():
    row = Row("one", "one", 5.0, "µs", "one", peers={"nats": "apt-get install nats-server"})
    assert cells(row)[4:6] == ["nats is missing", ""]
    assert missing([row.as_json()] * 2) == ["nats: apt-get install nats-server"]


def test_the_table_takes_its_place_in_a_page_again_and_again(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for text in ("new\n", "newer\n"):
        write_into(page, text)
    assert page.read_text() == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"


def test_a_page_without_a_place_is_left_as_it_is(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("text\n")
    with pytest.raises(ValueError, match="no place for the table"):
        write_into(page, "new\n")
    assert page.read_text() == "text\n"
