from app.commands.restart import Deaths, RestartPolicy, note_death, restart_delay_s

POLICY = RestartPolicy()


def delays(*ready_for_s):
    deaths, found = Deaths(), []
    for ready in ready_for_s:
        deaths = note_death(POLICY, deaths, ready)
        found.append(restart_delay_s(POLICY, deaths))
    return found


def test_the_delay_doubles_from_half_a_second_to_half_a_minute():
    assert delays(*[1.0] * 9) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_health_begins_the_delays_anew():
    assert delays(1.0, 1.0, 1.0, 60.0, 1.0) == [0.5, 1, 2, 0.5, 1]


def test_a_child_that_was_never_ready_is_given_up_at_its_fifth_death():
    assert delays(None, None, None, None, None) == [0.5, 1, 2, 4, None]


def test_a_child_that_once_was_ready_is_never_given_up():
    assert None not in delays(0.1, *[None] * 2_000)
