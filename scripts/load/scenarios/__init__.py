"""The scenarios by name."""

from collections.abc import Mapping

from scripts.load.scenarios.backlog import BACKLOG
from scripts.load.scenarios.celebrity import CELEBRITY
from scripts.load.scenarios.circles import CIRCLES
from scripts.load.scenarios.isolation import HANGING, RELAY
from scripts.load.scenarios.many_sockets import SOCKETS
from scripts.load.scenarios.push import PUSH
from scripts.load.scenarios.ramp import RAMP
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import BURST_FOR_A_MINUTE, STEADY
from scripts.load.scenarios.tls import TLS

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        STEADY,
        BURST_FOR_A_MINUTE,
        CELEBRITY,
        CIRCLES,
        HANGING,
        RELAY,
        BACKLOG,
        SOCKETS,
        PUSH,
        RAMP,
        TLS,
    )
}
