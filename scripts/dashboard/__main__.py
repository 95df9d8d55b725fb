"""The Grafana dashboard, made of a list of panels: `python -m scripts.dashboard --write FILE`.

`--ask URL` tries its queries on a Prometheus that scrapes the service, and lists those without an
answer: nothing that was counted yet, or a mistake.

Change it in `panels.py`, not in the JSON: a test holds that to this list, and every query to the
metrics and labels of `app.metric_names`.
"""

import argparse
import sys
from pathlib import Path

from scripts.dashboard.ask import unanswered
from scripts.dashboard.grafana import text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="a file, instead of the screen")
    parser.add_argument("--ask", metavar="URL", help="a Prometheus: http://127.0.0.1:9090")
    arguments = parser.parse_args()
    path: Path | None = arguments.write
    if arguments.ask:
        wrong = list(unanswered(arguments.ask))
        for panel, expr, complaint in wrong:
            print(f"{panel}: {complaint}\n    {expr}")
        sys.exit(bool(wrong))
    if path is None:
        sys.stdout.write(text())
    else:
        path.write_text(text())


if __name__ == "__main__":
    main()
