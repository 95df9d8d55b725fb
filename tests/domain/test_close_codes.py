import pytest

from app.domain.close_codes import BROKEN, GONE, OTHER, CloseCode, counted


@pytest.mark.parametrize("code", list(CloseCode))
def test_the_range_of_a_code_says_whether_to_come_back(code: CloseCode):
    assert 4000 <= code < 5000
    assert code.may_reconnect is (code.name not in ("BAD_MESSAGE", "BAD_TOKEN", "FLOOD"))


@pytest.mark.parametrize("code", list(CloseCode))
def test_each_has_a_reason_that_fits_into_a_close_frame(code: CloseCode):
    assert 0 < len(code.reason.encode()) <= 123


def test_the_codes_of_the_contract():
    assert CloseCode.TOO_SLOW == 4408
    assert CloseCode.BAD_MESSAGE == 4500


def test_codes_that_clients_make_up_are_counted_as_one():
    assert {counted(code) for code in range(3000, 5000)} == {OTHER, *CloseCode}
    assert {counted(code) for code in (1000, 1001, 1005, GONE, *BROKEN)} == {
        *(1000, 1001, 1005, GONE),
        *BROKEN,
    }
