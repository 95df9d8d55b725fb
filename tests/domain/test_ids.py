"""What the ids of this service look like."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import (
    ALPHABET,
    DELIVERY_ID,
    ENDPOINT_ID_LENGTH,
    POST_ID_LENGTH,
    WEBHOOK_DELIVERY_ID,
    WebhookDelivery,
    parse_delivery_id,
)

numbers = st.integers(0, 10**10).map(str) | st.sampled_from(["", "00", "01", "-1", "٣", "1 "])
parts = st.one_of(
    numbers,
    st.text(ALPHABET, min_size=POST_ID_LENGTH, max_size=POST_ID_LENGTH),
    st.text(ALPHABET, min_size=ENDPOINT_ID_LENGTH, max_size=ENDPOINT_ID_LENGTH),
)
posts = st.text(ALPHABET, min_size=POST_ID_LENGTH, max_size=POST_ID_LENGTH)
texts = st.one_of(
    st.text(max_size=40),
    st.lists(parts, max_size=6).map("-".join),
    st.builds("{}-{}-{}-{}".format, posts, numbers, numbers, parts),
    st.builds("{}-{}-{}-{}-{}".format, posts, numbers, numbers, numbers, numbers),
)


@given(texts)
def test_a_delivery_is_read_from_what_looks_like_its_id_and_from_nothing_else(text: str):
    delivery = parse_delivery_id(text)
    assert (delivery is not None) is (DELIVERY_ID.fullmatch(text) is not None)
    is_webhook = WEBHOOK_DELIVERY_ID.fullmatch(text) is not None
    assert isinstance(delivery, WebhookDelivery) is is_webhook
    assert delivery is None or str(delivery) == text
