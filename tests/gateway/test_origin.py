"""Whose pages may open sockets: browsers name the origin of a page, and a setting says which."""

import json

import pytest

from app.commands.environment import read_settings
from app.errors import UsageMistake
from app.gateway.door import Rules
from app.settings import Settings
from tests.gateway.gate import Gate, running
from tests.gateway.test_handshake import get, read_answer, refusal, request

APP = "https://app.example.com"
ONLY_OURS = Rules(allow_origins=(APP, "http://localhost:3000"))


async def opens(gate: Gate, origin: str | None) -> bool:
    async with gate.greeted("bob", options={"origin": origin}) as socket:
        return socket.hello["user"] == "bob"


@pytest.mark.parametrize("origin", [*ONLY_OURS.allow_origins, None])
async def test_pages_of_the_origins_named_and_who_is_no_browser_get_in(origin: str | None):
    async with running(rules=ONLY_OURS) as gate:
        assert await opens(gate, origin)


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "null", "", "https://app.example.com.evil.example"),
        *("http://app.example.com", "https://app.example.com:8443", "https://example.com"),
        *("https://APP.example.com", "https://app.example.com/", f"{APP} {APP}", f"{APP}, {APP}"),
        *("https://xapp.example.com", "https://appXexample.com", "http://localhost:30000"),
    ],
)
async def test_pages_of_others_do_not_and_that_is_counted_and_told(
    origin: str, caplog: pytest.LogCaptureFixture
):
    async with running(rules=ONLY_OURS) as gate:
        told = await refusal(gate, request(Origin=origin))
        assert told["status"] == 403
        assert "origin" in told["detail"]
        assert gate.stats.sockets_refused == {"allow_origins": 1}
        assert [(line.limit, line.origin) for line in caplog.records] == [("allow_origins", origin)]


async def test_without_a_token_an_origin_is_judged_all_the_same():
    """Nor does anybody learn from a page of theirs whether a token holds."""
    async with running(rules=ONLY_OURS) as gate:
        for target in ("/v1/socket", "/v1/socket?token=x", "/v1/socket?what=ever"):
            answer = await gate.ask(request(target, Origin="https://evil.example"))
            assert read_answer(answer)[0] == 403
        assert gate.stats.tokens_awaited == gate.stats.sockets_accepted == 0


async def test_two_origins_are_none():
    async with running(rules=ONLY_OURS) as gate:
        two = request(Origin=APP).replace("Upgrade:", "Origin: https://evil.example\r\nUpgrade:", 1)
        assert (await refusal(gate, two))["status"] == 400


async def test_unless_they_are_named_pages_of_any_origin_get_in():
    async with running() as gate:
        for origin in ("https://evil.example", "null", None):
            assert await opens(gate, origin)


async def test_a_long_origin_is_cut_in_the_log(caplog: pytest.LogCaptureFixture):
    async with running(rules=ONLY_OURS) as gate:
        await refusal(gate, request(Origin="https://" + "x" * 5_000))
        assert len(caplog.records[0].origin) == 100


async def test_health_and_metrics_are_for_every_origin():
    async with running(rules=ONLY_OURS) as gate:
        asked = get("/healthz").replace("Host:", "Origin: https://evil.example\r\nHost:")
        status, headers, _ = read_answer(await gate.ask(asked))
        assert status == 200
        assert "access-control-allow-origin" not in headers  # so that no page can read them


def test_the_setting_is_read_as_a_list(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOMENTS_ALLOW_ORIGINS", f" {APP} ,http://localhost:3000,")
    assert Rules.of(read_settings()) == ONLY_OURS
    monkeypatch.setenv("MOMENTS_ALLOW_ORIGINS", "")
    assert Rules.of(read_settings()) == Rules() == Rules.of(Settings())


def test_what_would_let_nobody_in_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOMENTS_ALLOW_ORIGINS", f"{APP},https://bob:hush@example.com")
    with pytest.raises(UsageMistake, match=r"^MOMENTS_ALLOW_ORIGINS: number 2 is no") as refused:
        read_settings()
    assert "hush" not in str(refused.value)
    assert json.dumps(APP) not in str(refused.value)
