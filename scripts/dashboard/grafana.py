"""The dashboard as Grafana imports it."""

import json
from typing import Any

from scripts.dashboard.panels import ROWS, Panel, Row

UID = "moments-overview"
WIDTH, HEIGHT, ACROSS = 8, 7, 3  # of a panel, in the 24 columns of the grid


def dashboard() -> dict[str, Any]:
    """The whole of it, for Grafana 10 or newer to import."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append(_row(row, len(panels) + 1, top))
        top += 1
        for number, one in enumerate(row.panels):
            at = {
                "x": WIDTH * (number % ACROSS),
                "y": top + HEIGHT * (number // ACROSS),
                "w": WIDTH,
                "h": HEIGHT,
            }
            panels.append(_panel(one, len(panels) + 1, at))
        top += HEIGHT * -(-len(row.panels) // ACROSS)
    return {
        "uid": UID,
        "title": "Moments",
        "description": "Posts, fan-out, webhooks, sockets, retries, store and processes.",
        "tags": ["moments"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource()]},
        "panels": panels,
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
    }


def _row(row: Row, id_: int, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": 24, "h": 1}
    return {
        "id": id_,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _panel(panel: Panel, id_: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": id_,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": source,
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": True,
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"
