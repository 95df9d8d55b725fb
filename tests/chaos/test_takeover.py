"""Where one sender stops another goes on: after a crash within a lease, else without a trace."""

from pathlib import Path

import pytest

from scripts.chaos.takeover import measure_handover, measure_takeover

IN_FLIGHT = 60
LEASE_S = 3.0


@pytest.mark.timeout(90)
async def test_what_a_killed_sender_had_in_flight_is_sent_again_within_a_lease_and_a_second(
    tmp_path: Path,
) -> None:
    taken = await measure_takeover(tmp_path, IN_FLIGHT, LEASE_S)
    assert taken.in_flight > IN_FLIGHT // 2
    assert taken.sent_again == taken.in_flight
    assert taken.lost == 0
    assert 0 < taken.first_s <= LEASE_S + 1.0
    assert taken.is_good


@pytest.mark.timeout(90)
async def test_a_sender_that_is_told_to_stop_loses_nothing_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    handed = await measure_handover(tmp_path, IN_FLIGHT, LEASE_S)
    assert handed.in_flight == 2 * IN_FLIGHT
    assert handed.deliveries == 3 * handed.in_flight
    assert (handed.lost, handed.repeated) == (0, 0)
    assert handed.left_in_time
