"""Loads a running service, or one of its own, and reports what that costs and how long it takes.

python scripts/load_test.py steady --seconds 60
python scripts/load_test.py --help
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.load.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
