import pytest

from tests.api.conftest import Api


async def test_a_post_is_accepted_with_what_its_author_said(api: Api):
    said = {"text": "Grüße 🎉", "n": 1.5}
    answer = await api.admin.post(
        "/v1/posts", json={"author": "ann", "type": "commit", "data": said}
    )
    assert answer.status_code == 202
    post = answer.json()
    assert post["data"] == said
    assert (post["author"], post["type"], post["version"]) == ("ann", "commit", 1)
    assert post["created_at"].endswith("Z")
    assert len(post["created_at"]) == len("2026-01-01T00:00:00.000Z")
    assert (await api.admin.get(f"/v1/posts/{post['id']}")).json() == post


async def test_data_is_kept_as_compact_json(api: Api):
    raw = b'{ "author" : "ann", "data" : { "text" : "\\u00e4\\/" , "list" : [ 1 , true, null ] } }'
    answer = await api.admin.post("/v1/posts", content=raw)
    post = await api.services.posts.get(answer.json()["id"])
    assert post.data == '{"text":"ä/","list":[1,true,null]}'.encode()


async def test_a_repeated_idempotency_key_gets_the_same_answer(api: Api):
    ask = {"json": {"author": "ann", "data": {}}, "headers": {"idempotency-key": "a key"}}
    first = await api.admin.post("/v1/posts", **ask)
    again = await api.admin.post("/v1/posts", **ask)
    assert (again.status_code, again.content) == (202, first.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_repeated_key_gets_the_first_answer_whatever_became_of_the_post(api: Api):
    ask = {"json": {"author": "ann", "data": {"n": 1}}, "headers": {"idempotency-key": "k"}}
    first = await api.admin.post("/v1/posts", **ask)
    path = f"/v1/posts/{first.json()['id']}"
    await api.admin.patch(path, json={"data": {"n": 2}})
    assert (await api.admin.post("/v1/posts", **ask)).content == first.content
    await api.admin.delete(path)
    assert (await api.admin.post("/v1/posts", **ask)).content == first.content
    assert (await api.admin.get(path)).json()["version"] == 3


async def test_the_same_request_in_other_words_is_the_same_request(api: Api):
    headers = {"idempotency-key": "k"}
    bodies = (
        b'{"author":"ann","data":{"a":"\\u00e4","b":[1]}}',
        '{ "data": {"a": "ä", "b": [ 1 ]}, "type": "post", "author": "ann" }'.encode(),
    )
    first, again = [
        await api.admin.post("/v1/posts", content=body, headers=headers) for body in bodies
    ]
    assert again.content == first.content


async def test_an_idempotency_key_with_another_request_is_a_conflict(api: Api):
    headers = {"idempotency-key": "a key"}
    await api.admin.post("/v1/posts", json={"author": "ann", "data": {}}, headers=headers)
    for change in ({"data": {"x": 1}}, {"type": "task"}, {"audience": {"only": ["bob"]}}):
        body = {"author": "ann", "data": {}, **change}
        other = await api.admin.post("/v1/posts", json=body, headers=headers)
        assert other.status_code == 409
        assert other.json()["type"] == "urn:moments:problem:idempotency-mismatch"
        assert "with another request" in other.json()["detail"]


async def test_keys_of_two_authors_are_two_keys(api: Api):
    headers = {"idempotency-key": "a key"}
    for author in ("ann", "bob"):
        answer = await api.admin.post(
            "/v1/posts", json={"author": author, "data": {}}, headers=headers
        )
        assert "idempotency-replayed" not in answer.headers


async def test_an_edit_raises_the_version(api: Api):
    post = await api.publish()
    answer = await api.admin.patch(f"/v1/posts/{post['id']}", json={"data": {"text": "better"}})
    assert answer.status_code == 202
    assert answer.json()["version"] == 2
    read = (await api.admin.get(f"/v1/posts/{post['id']}")).json()
    assert read["data"] == {"text": "better"}
    assert read["created_at"] == post["created_at"]


async def test_a_deleted_post_has_no_data_and_stays_deleted(api: Api):
    post = await api.publish()
    deleted = await api.admin.delete(f"/v1/posts/{post['id']}")
    assert deleted.status_code == 202
    assert deleted.json()["deleted"] is True
    assert deleted.json()["data"] is None
    assert deleted.json()["version"] == 2
    again = await api.admin.delete(f"/v1/posts/{post['id']}")
    assert again.status_code == 202
    assert again.content == deleted.content
    assert (await api.admin.get(f"/v1/posts/{post['id']}")).json() == deleted.json()
    edit = await api.admin.patch(f"/v1/posts/{post['id']}", json={"data": {}})
    assert edit.status_code == 409
    assert "is deleted" in edit.json()["detail"]


@pytest.mark.parametrize("id_", ["01k2v3w4x5y6z7a800", "01k2v3w4x5y6z7azzz"])
async def test_a_post_that_never_was_is_a_404(single_api: Api, id_: str):
    path = f"/v1/posts/{id_}"
    for answer in (
        await single_api.admin.get(path),
        await single_api.admin.patch(path, json={"data": {}}),
        await single_api.admin.delete(path),
    ):
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:moments:problem:not-found"


async def test_a_post_has_a_bounded_number_of_versions(api: Api):
    post = await api.publish()
    statuses = [
        (await api.admin.patch(f"/v1/posts/{post['id']}", json={"data": {}})).status_code
        for _ in range(4)
    ]
    assert statuses == [202, 202, 202, 409]
    assert api.services.stats.refusals.by_kind == {"limit-reached": 1}


async def test_a_full_backlog_is_answered_with_when_to_come_back(api: Api):
    services = api.services
    services.posts._backlog_max = 1
    await api.publish()
    answer = await api.admin.post("/v1/posts", json={"author": "ann", "data": {}})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert (services.stats.accepted, services.stats.refused) == (1, 1)


async def test_the_newest_posts_are_listed_without_their_data(api: Api):
    first = await api.publish("ann")
    second = await api.publish("bob", type="commit")
    await api.admin.delete(f"/v1/posts/{first['id']}")
    page = (await api.admin.get("/v1/posts")).json()
    assert [post["id"] for post in page["items"]] == sorted([first["id"], second["id"]])[::-1]
    by_id = {post["id"]: post for post in page["items"]}
    assert by_id[first["id"]]["deleted"] is True
    assert (by_id[second["id"]]["author"], by_id[second["id"]]["type"]) == ("bob", "commit")
    assert "data" not in by_id[second["id"]]
    assert page["next"] is None


async def test_the_newest_posts_come_in_pages(api: Api):
    ids = sorted([str((await api.publish(f"user{n}"))["id"]) for n in range(7)], reverse=True)
    found, after = [], ""
    while True:
        page = (await api.admin.get(f"/v1/posts?limit=3{after}")).json()
        found += [post["id"] for post in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == ids


async def test_a_page_of_posts_begins_after_a_post_and_nothing_else(single_api: Api):
    for wrong in ("x", "01kg9ys7g0d2pf2d0", "01KG9YS7G0D2PF2D03"):
        answer = await single_api.admin.get("/v1/posts", params={"after": wrong})
        assert answer.status_code == 422
