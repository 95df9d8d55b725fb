"""The Grafana dashboard, made of a list of panels: `python -m scripts.dashboard --write FILE`.

Change it in `panels.py`, not in the JSON: a test holds that to this list, and every query to the
metrics and labels of `app.metric_names`.
"""

import argparse
import sys
from pathlib import Path

from scripts.dashboard.grafana import text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="a file, instead of the screen")
    path: Path | None = parser.parse_args().write
    if path is None:
        sys.stdout.write(text())
    else:
        path.write_text(text())


if __name__ == "__main__":
    main()
