"""What is taken out of a receiver's words before they are kept."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.excerpt import secret_forms, without_secrets

VALUE = 'Basic dXNlcjpw/+"b'
SECRETS = secret_forms(["application-7", VALUE])


@pytest.mark.parametrize(
    "sent",
    [
        VALUE,
        VALUE.partition(" ")[2],
        json.dumps({"authorization": VALUE}),
        quote(VALUE, safe=""),
        base64.b64encode(VALUE.encode()).decode(),
    ],
)
def test_values_of_headers_go_in_every_form_and_what_stands_round_them_stays(sent: str) -> None:
    shown = without_secrets(f"sorry: {sent} (application-7) is wrong".encode(), SECRETS).decode()
    assert shown.startswith("sorry: ")
    assert shown.endswith("*** (***) is wrong") or '***"} (***) is wrong' in shown
    assert "dXNlcjpw" not in shown


@pytest.mark.parametrize("cut", range(4, len(VALUE)))
def test_a_value_that_the_end_has_cut_short_goes_too(cut: int) -> None:
    assert without_secrets(b"got " + VALUE[:cut].encode(), SECRETS) == b"got ***"


def test_short_values_are_left_alone() -> None:
    assert set(secret_forms(["7", "yes", "Bearer x"])) == set(secret_forms(["Bearer x"]))
    assert without_secrets(b"yes, 7", secret_forms(["7", "yes"])) == b"yes, 7"


@given(st.binary(max_size=256))
def test_other_words_stay_as_they_are(excerpt: bytes) -> None:
    assert without_secrets(excerpt, secret_forms(["\x01\x02-never-drawn-\x03"])) == excerpt
