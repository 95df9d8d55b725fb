from app.gateway.flood import AT_ONCE, PER_S, Allowance


def test_so_much_may_be_said_at_once_and_no_more():
    allowance = Allowance(0.0)
    assert all(allowance.spend(1, 0.0) for _ in range(AT_ONCE))
    assert not allowance.spend(1, 0.0)


def test_it_comes_back_with_time_up_to_what_it_was():
    allowance = Allowance(0.0)
    allowance.spend(AT_ONCE, 0.0)
    assert allowance.spend(PER_S, 1.0)
    assert not allowance.spend(PER_S, 1.5)
    assert allowance.spend(AT_ONCE, 1_000.0)
    assert not allowance.spend(1, 1_000.0)
