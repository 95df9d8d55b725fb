"""Where a list goes on: a position that was given leads on, other text is refused or harmless."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.app import ALL_CALLS
from app.api.call import Call
from app.domain.ids import ALPHABET, ENDPOINT_ID_LENGTH, POST_ID_LENGTH
from app.store.dead_letters import DeadLetter, parse_position
from tests.api.conftest import Api
from tests.api.world import World, make_many
from tests.fuzz.amount import tried

LISTS = [call for call in ALL_CALLS if "after" in call.query.model_fields]
LIMITS = st.integers(1, 4)

small = st.integers(0, 9)
ids = st.builds(
    "{}-{}-{}-{}".format,
    *(st.text(ALPHABET, min_size=POST_ID_LENGTH, max_size=POST_ID_LENGTH), small, small),
    st.text(ALPHABET, min_size=ENDPOINT_ID_LENGTH, max_size=ENDPOINT_ID_LENGTH),
)
numbers = st.one_of(st.integers(0, 10**16), small).map(str)
positions = st.one_of(
    st.text(max_size=130),
    numbers,
    st.builds("{}.{}".format, numbers, numbers),
    st.builds("{}.{}".format, numbers, ids),
    st.builds("0{}.{}".format, numbers, ids),
    st.builds("{}.{}.{}".format, numbers, numbers, ids),
    st.sampled_from(["", ".", "0.", ".0", "00.0", "-1.0", "1.-1", "٣.٣", "1e3.0", "0.0.0", "null"]),
)


@pytest.fixture
async def world(api: Api) -> World:
    return await make_many(api)


async def read(world: World, call: Call, **query: Any) -> tuple[int, Mapping[str, Any]]:
    answer = await world.api.admin.get(f"{world.url(call)}?{urlencode(query)}")
    return answer.status_code, answer.json()


def paths(call: Call) -> str:
    return call.path


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("call", LISTS, ids=paths)
async def test_page_by_page_a_list_is_the_whole(world: World, call: Call, limit: int):
    _, whole = await read(world, call, limit=200)
    assert len(whole["items"]) >= 3
    found: list[Any] = []
    query: dict[str, Any] = {}
    for _ in range(200):
        status, page = await read(world, call, limit=limit, **query)
        assert status == 200
        assert len(page["items"]) <= limit
        found += page["items"]
        query = {"after": page.get("next", page.get("next_offset"))}
        if query["after"] in (None, page.get("head_offset")):
            break
    assert found == whole["items"]


@pytest.mark.parametrize("call", LISTS, ids=paths)
@given(after=positions, limit=LIMITS)
@tried(25)
async def test_from_any_text_a_list_goes_on_or_it_is_refused(
    world: World, call: Call, after: str, limit: int
):
    status, page = await read(world, call, after=after, limit=limit)
    if status == 422:
        assert [error["field"] for error in page["errors"]] == ["after"]
        return
    assert status == 200
    _, whole = await read(world, call, limit=200)
    assert page["items"] in [
        whole["items"][start : start + len(page["items"])] for start in range(len(whole["items"]))
    ]


@given(at_ms=st.integers(0, 10**15 - 1), id_=ids)
@tried(100)
def test_a_position_among_dead_letters_is_read_as_it_was_written(at_ms: int, id_: str):
    letter = DeadLetter(at_ms, id_)
    assert parse_position(str(letter)) == letter


@given(positions)
@tried(150)
def test_another_text_is_no_position_or_the_only_spelling_of_one(text: str):
    with suppress(ValueError):
        assert str(parse_position(text)) == text
