from tests.api.conftest import Api, snapshot


async def test_a_key_is_made_and_its_secret_shown_once(api: Api):
    answer = await api.admin.post(
        "/v1/keys", json={"name": "importer", "scopes": ["publish", "read", "read"]}
    )
    made = answer.json()
    assert answer.status_code == 201
    assert made["key"].startswith("mk_")
    assert made["scopes"] == ["publish", "read"]
    listed = await api.admin.get("/v1/keys")
    assert made["key"] not in listed.text
    mine = next(key for key in listed.json()["items"] if key["id"] == made["id"])
    assert mine == {name: value for name, value in made.items() if name != "key"}
    assert made["key"].startswith(mine["hint"])


async def test_the_store_holds_nothing_that_opens_a_call(api: Api):
    made = (await api.admin.post("/v1/keys", json={"name": "x", "scopes": ["read"]})).json()
    held = b"".join((await snapshot(api.services.store)).values())
    for secret in (made["key"], *api.secrets.values()):
        assert secret.encode() not in held
        assert secret.removeprefix("mk_").encode() not in held


async def test_a_key_tells_whether_endpoints_made_with_it_are_verified(api: Api):
    body = {"name": "shop", "scopes": ["admin"]}
    made = (await api.admin.post("/v1/keys", json={**body, "verify_endpoints": True})).json()
    assert made["verify_endpoints"] is True
    plain = (await api.admin.post("/v1/keys", json=body)).json()
    assert plain["verify_endpoints"] is False
    items = (await api.admin.get("/v1/keys")).json()["items"]
    told = {one["id"]: one["verify_endpoints"] for one in items}
    assert (told[made["id"]], told[plain["id"]]) == (True, False)
    answer = await api.admin.post("/v1/keys", json={**body, "verify_endpoints": "perhaps"})
    assert answer.status_code == 422


async def test_a_key_may_do_what_its_scopes_say(api: Api):
    made = (
        await api.admin.post("/v1/keys", json={"name": "x", "scopes": ["publish", "read"]})
    ).json()
    async with api.client(made["key"]) as client:
        post = await client.post("/v1/posts", json={"author": "ann", "data": {}})
        assert post.status_code == 202
        assert (await client.get(f"/v1/posts/{post.json()['id']}")).status_code == 200
        assert (await client.get("/v1/keys")).status_code == 403


async def test_a_revoked_key_is_gone(api: Api):
    made = (await api.admin.post("/v1/keys", json={"name": "x", "scopes": ["read"]})).json()
    assert (await api.admin.delete(f"/v1/keys/{made['id']}")).status_code == 204
    assert (await api.admin.delete(f"/v1/keys/{made['id']}")).status_code == 404
    listed = (await api.admin.get("/v1/keys")).json()["items"]
    assert made["id"] not in [key["id"] for key in listed]


async def test_keys_are_listed_in_pages_in_the_order_of_their_making(api: Api):
    whole = (await api.admin.get("/v1/keys")).json()
    assert {key["name"] for key in whole["items"]} == {"admin", "publish", "read"}
    first = (await api.admin.get("/v1/keys?limit=2")).json()
    rest = (await api.admin.get(f"/v1/keys?limit=2&after={first['next']}")).json()
    assert first["items"] + rest["items"] == whole["items"]
    assert rest["next"] is None


async def test_a_key_revoked_between_two_pages_hides_no_other(api: Api):
    first = (await api.admin.get("/v1/keys?limit=2")).json()
    for key in first["items"]:
        if key["name"] != "admin":
            await api.admin.delete(f"/v1/keys/{key['id']}")
    rest = (await api.admin.get(f"/v1/keys?limit=2&after={first['next']}")).json()
    names = [key["name"] for key in first["items"] + rest["items"]]
    assert sorted(names) == ["admin", "publish", "read"]


async def test_there_are_boundedly_many_keys(api: Api):
    statuses = [
        (await api.admin.post("/v1/keys", json={"name": "x", "scopes": ["read"]})).status_code
        for _ in range(6)
    ]
    assert statuses == [201] * 5 + [409]
    assert api.services.stats.refusals.by_kind == {"limit-reached": 1}
