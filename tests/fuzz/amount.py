"""How much is tried: little, always the same, in a test run; much, ever new, in `make fuzz`."""

import os
import random

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
IS_LONG = TIMES > 1
# For what has a seed that is told.
SEED = os.environ.get("FUZZ_SEED") or (str(random.randrange(2**31)) if IS_LONG else "1")


def tried(examples: int) -> settings:
    """The settings of a test that tries so many examples in a test run."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=not IS_LONG,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
