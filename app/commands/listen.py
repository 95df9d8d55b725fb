"""`moments listen`: a receiver that shows what comes, checks it, and fails as often as told."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from rich.text import Text

from app.commands.probe import authority
from app.commands.signals import stop_on_signals
from app.commands.terminal import console, note, plain
from app.errors import BadSecret, Rejected, UsageMistake
from app.receiver import Plan, Received, Receiver, Tally
from app.receiver.catalogue import behaviours
from app.wire import rfc3339

_TEXT_MAX = 60


@dataclass(frozen=True, slots=True)
class Options:
    """What `moments listen` was asked for."""

    host: str
    port: int
    secrets: tuple[str, ...]
    plan: Plan
    seed: int | None
    as_json: bool


def plan(
    fail: float | None, status: int | None, delay_s: float, path: str | None, behave: str | None
) -> Plan:
    """How to answer. With a status or behaviours and no share, every request gets that.

    Raises UsageMistake.
    """
    if status is not None and behave is not None:
        raise UsageMistake("--behave and --status: write --behave status=CODE,…")
    if fail is None:
        fail = 0.0 if status is None and behave is None else 1.0
    try:
        chosen = () if behave is None else behaviours(behave)
    except Rejected as error:
        raise UsageMistake(f"--behave: {error}") from error
    return Plan(fail, 503 if status is None else status, delay_s, path, behaviours=chosen)


async def listen(options: Options) -> None:
    """Shows every request on standard output until a signal; then what came in all.

    Raises UsageMistake for a secret that is none or a port that cannot be listened on.
    """
    stop = stop_on_signals()
    out = console(sys.stdout)

    def show(received: Received) -> None:
        try:
            out.print(_json_line(received) if options.as_json else line(received))
        except BrokenPipeError:  # whoever read along has gone
            stop.set()

    receiver = _receiver(options, show)
    try:
        port = await receiver.start(options.host, options.port)
    except OSError as error:
        where = authority(options.host, options.port)
        raise UsageMistake(
            f"cannot listen on {where} ({error.strerror}): choose another with --port or --host"
        ) from error
    try:
        note(_greeting(options, port))
        await stop.wait()
    finally:
        await receiver.stop()
    note(summary(receiver.tally))


def _receiver(options: Options, show: Callable[[Received], None]) -> Receiver:
    try:
        return Receiver(options.secrets, options.plan, show, options.seed, echoes=True)
    except BadSecret as error:
        raise UsageMistake(f"what --secret gives cannot be used: {error}") from error


def _greeting(options: Options, port: int) -> str:
    where = f"http://{authority(options.host, port)}{options.plan.path or '/'}"
    lines = [f"listening on {where}   (Ctrl+C ends)"]
    if not options.secrets:
        lines.append("signatures are not checked: give the endpoint's --secret whsec_… for that")
    lines.append("a service lets webhooks go to this machine with MOMENTS_ALLOW_CIDRS=127.0.0.0/8")
    return "\n".join(lines)


def line(received: Received) -> Text:
    """A request in one line: when, verified, answer, attempt, what, to whom, offset, text."""
    event = received.event()
    at = datetime.fromtimestamp(received.at_ms / 1000).strftime("%H:%M:%S.%f")[:-3]
    parts: list[str | tuple[str, str]] = [(at, "dim"), " ", *_verdict(received), " "]
    parts.append(_answer(received))
    parts.append(f" {plain(event.get('type')) or received.method + ' ' + received.path}")
    for name, value in (
        ("attempt", received.attempt),
        ("to", event.get("recipient")),
        ("offset", event.get("offset")),
        ("id", received.id),
    ):
        if value not in (None, ""):
            parts += [(f" {name}=", "dim"), plain(value)]
    if text := _abridged(event):
        parts += ["  ", text]
    if received.duplicate:
        parts.append(("  duplicate", "yellow"))
    return Text.assemble(*parts)


def _answer(received: Received) -> tuple[str, str]:
    """The status, or what was done instead of a plain answer."""
    if received.behaviour:
        return received.behaviour, "yellow"
    return str(received.status), "green" if received.status < 300 else "red"


def _verdict(received: Received) -> list[str | tuple[str, str]]:
    if received.verdict is None:
        return [("-", "dim")]
    if received.verdict:
        return [("✓", "green")]
    return [(f"✗ {received.verdict.value}", "red")]


def _abridged(event: Mapping[str, object]) -> str:
    """The post's text, or its data as JSON when it has no text; cut to be read at a glance."""
    data = _member(_member(event.get("data"), "post"), "data")
    if data is None:
        return ""
    text = _member(data, "text")
    shown = plain(text if isinstance(text, str) else json.dumps(data, ensure_ascii=False))
    return shown if len(shown) <= _TEXT_MAX else shown[: _TEXT_MAX - 1] + "…"


def _member(value: object, name: str) -> object:
    """A member of what may be an object."""
    return cast(Mapping[str, object], value).get(name) if isinstance(value, Mapping) else None


def _json_line(received: Received) -> str:
    verdict = received.verdict
    return json.dumps(
        {
            "at": rfc3339(received.at_ms),
            "method": received.method,
            "target": received.target,
            "id": received.id,
            "attempt": received.attempt,
            "verified": None if verdict is None else bool(verdict),
            "reason": None if verdict is None or verdict else verdict.value,
            "duplicate": received.duplicate,
            "status": received.status or None,
            "behaviour": received.behaviour or None,
            "event": received.event(),
        },
        ensure_ascii=False,
    )


def summary(tally: Tally) -> str:
    """What came in all, in one line."""
    verified = sum(count for verdict, count in tally.verdicts.items() if verdict)
    unchecked = tally.verdicts[None]
    parts = [
        f"{tally.requests} requests",
        f"{verified} verified",
        f"{tally.requests - verified - unchecked} not verified",
    ]
    if unchecked:
        parts.append(f"{unchecked} not checked")
    parts.append(f"{tally.duplicates} duplicates")
    parts += [
        f"{count} answered {status}" if status else f"{count} not answered in whole"
        for status, count in sorted(tally.statuses.items())
    ]
    return ", ".join(parts)
