"""What is said of an egress proxy before anything is sent by it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.commands.egress import look_at_egress
from app.commands.environment import read_settings
from app.commands.finding import Finding, Level
from app.errors import UsageMistake
from app.settings import Settings
from tests.certificates import Authority
from tests.connect_proxy import ConnectProxy
from tests.receivers import refusing_port

SECRET = "hush-hush"


async def look(url: str, **settings: object) -> Finding:
    [finding] = await look_at_egress(Settings.model_validate({"egress_proxy": url, **settings}))
    assert finding.topic == "egress proxy"
    assert SECRET not in finding.text
    return finding


async def test_without_a_proxy_there_is_nothing_to_say():
    assert await look_at_egress(Settings()) == []
    assert await look_at_egress(Settings(egress_proxy="")) == []


async def test_one_that_takes_connections_is_well():
    async with ConnectProxy() as proxy:
        found = await look(proxy.url)
        assert (found.level, "without credentials" in found.text) == (Level.OK, True)
        found = await look(proxy.url.replace("//", f"//me:{SECRET}@"))
        assert (found.level, "with credentials" in found.text) == (Level.OK, True)
        assert proxy.url in found.text
    assert proxy.asked == []


async def test_one_that_refuses_connections_is_a_fault():
    with refusing_port() as port:
        found = await look(f"http://me:{SECRET}@127.0.0.1:{port}")
    assert found.level is Level.FAULT
    assert "MOMENTS_EGRESS_PROXY" in found.text
    assert f"http://127.0.0.1:{port} cannot be reached" in found.text


async def test_one_that_nobody_vouches_for_is_a_fault(tmp_path: Path):
    authority = Authority(tmp_path)
    async with ConnectProxy(tls=authority.server_context("127.0.0.1")) as proxy:
        assert (await look(proxy.url)).level is Level.FAULT
        assert (await look(proxy.url, ca_file=authority.ca_file)).level is Level.OK


async def test_names_left_to_a_proxy_that_there_is_none_of_are_told_of():
    [found] = await look_at_egress(Settings(egress_proxy_resolves=True))
    assert found.level is Level.WARNING
    assert "MOMENTS_EGRESS_PROXY_RESOLVES is set" in found.text


@pytest.mark.parametrize(
    "text",
    [f"me:{SECRET}@proxy:3128", f"http://me:{SECRET}@proxy", f"socks5://me:{SECRET}@proxy:1"],
)
def test_a_setting_that_names_no_proxy_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, text: str
):
    monkeypatch.setenv("MOMENTS_EGRESS_PROXY", text)
    with pytest.raises(UsageMistake, match=r"^MOMENTS_EGRESS_PROXY: must ") as refused:
        read_settings()
    assert SECRET not in str(refused.value)


async def test_doctor_tells_of_it_and_a_worker_does_not_start_without(tmp_path: Path):
    """By the commands themselves: what they print has no password either."""
    with refusing_port() as port:
        url = f"http://me:{SECRET}@127.0.0.1:{port}"
        doctor = await run(["doctor", "--json", "--data", str(tmp_path)], EGRESS_PROXY=url)
    findings = json.loads(doctor.stdout)["findings"]
    assert [one["level"] for one in findings if one["topic"] == "egress proxy"] == ["fault"]
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    worker = await run(["worker"], EGRESS_PROXY_RESOLVES="true", SECRET_KEY=key)
    assert (worker.returncode, "set MOMENTS_EGRESS_PROXY as well" in worker.stderr) == (1, True)
    assert SECRET not in doctor.stdout + doctor.stderr


async def run(command: list[str], **settings: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("MOMENTS_")}
    env |= {f"MOMENTS_{name}": value for name, value in settings.items()}
    words = [sys.executable, "-m", "app.cli", *command]
    return await asyncio.to_thread(
        subprocess.run, words, capture_output=True, text=True, env=env, timeout=30
    )
