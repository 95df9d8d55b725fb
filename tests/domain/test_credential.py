import pytest

from app.commands.data_dir import new_admin_key
from app.domain.credential import is_api_key, may_be_api_key


@pytest.mark.parametrize(
    "key",
    [new_admin_key(), "mk_thirteen-sign", "mk_" + "~" * 509],
    ids=["made", "shortest", "longest"],
)
def test_a_key_that_a_client_can_send_may_be_one(key):
    assert may_be_api_key(key)
    assert is_api_key(key)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "mk_",
            "mk_twelve-signs",
            "mk_" + "x" * 510,
            "an-admin-key-without",
            "MK_" + "x" * 40,
        ),
        *("mk_two words-of-it", "mk_with-a-newline\n", " mk_after-a-space", "mk_ünd-so-weiter"),
    ],
)
def test_what_would_be_taken_for_something_else_or_cannot_be_sent_may_not(text):
    assert not may_be_api_key(text)
