"""Asks a Prometheus what the dashboard would: which queries bring nothing, or are refused."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from scripts.dashboard.panels import ROWS

RATE_INTERVAL = "1m"  # four times as long as one scrapes, as Grafana takes it


def unanswered(url: str) -> Iterator[tuple[str, str, str]]:
    """Row and panel, expression, and what is wrong with the answer, of each that is not well."""
    for row in ROWS:
        for panel in row.panels:
            for query in panel.queries:
                if complaint := _ask(url, query.expr):
                    yield f"{row.title} / {panel.title}", query.expr, complaint


def _ask(url: str, expr: str) -> str:
    """Why an expression brings nothing to draw; "" when it does."""
    asked = expr.replace("$__rate_interval", RATE_INTERVAL)
    try:
        with urlopen(f"{url}/api/v1/query?{urlencode({'query': asked})}", timeout=10) as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
    except HTTPError as error:
        return json.load(error)["error"]
    if not result:
        return "no series"
    numbers = [series["value"][1] for series in result]
    return "no number" if set(numbers) == {"NaN"} else ""
