"""What is refused for its rate has changed nothing, and is taken after the time that is named."""

import asyncio

from app.store.client import Store
from tests.flows.service import serve


async def test_an_author_who_waits_as_long_as_told_loses_no_post(single_store: Store):
    async with serve(single_store, author_rate_per_s=2, author_burst=3) as service:
        await service.befriend(("alice", "bob"))
        async with service.socket("bob") as socket:
            taken, waits = [], 0
            for number in range(5):
                body = {"author": "alice", "data": {"n": number}}
                answer = await service.http.post("/v1/posts", json=body)
                while answer.status_code == 429:
                    waits += 1
                    await asyncio.sleep(int(answer.headers["retry-after"]))
                    answer = await service.http.post("/v1/posts", json=body)
                assert answer.status_code == 202
                taken.append(answer.json()["id"])
            frames = await socket.take(5)
            assert await socket.is_silent()
    assert waits == 1  # for a second, in which two came back
    assert [frame["post"]["id"] for frame in frames] == taken
    assert [frame["post"]["data"]["n"] for frame in frames] == list(range(5))


async def test_a_user_has_the_rate_of_the_settings_and_an_admin_key_has_none(single_store: Store):
    async with serve(single_store, user_rate_per_s=1, user_burst=2, key_rate_per_s=1) as service:
        token = (await service.call("POST", "/users/bob/tokens", {"ttl_s": 60}))["token"]
        headers = {"authorization": f"Bearer {token}"}
        answers = [await service.http.get("/v1/users/bob/feed", headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        for _ in range(5):
            await service.call("GET", "/users/bob/feed")
