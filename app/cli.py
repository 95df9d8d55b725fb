"""The `moments` command: one function for each command, which reads options and calls its module.

Modules are imported when their command runs: a socket client needs no web framework.
"""

import asyncio
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from app import __version__

cli = typer.Typer(
    name="moments",
    help="Pushes every post to every friend, by webhook and by websocket.",
    epilog="Ends with 0 when all went well, 1 when something failed or is to be changed, 2 when "
    "it was called or configured wrongly, 130 when Ctrl+C cut it off.",
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(help="API keys, through a running api.", no_args_is_help=True)
cli.add_typer(keys, name="key")
secret_keys = typer.Typer(help="The key that seals endpoint secrets.", no_args_is_help=True)
cli.add_typer(secret_keys, name="secret-key")

Data = Annotated[Path, typer.Option(help="Data directory of `moments up`.")]
Api = Annotated[str | None, typer.Option(help="URL of the api, if not as in the settings.")]
Key = Annotated[str | None, typer.Option(help="API key mk_…; else from settings or data.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
ApiPort = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="Of the api; 0: any that is free.")
]
GatewayPort = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="Of the gateway; 0: any that is free.")
]

DATA = Path("data")


class WorkerRole(StrEnum):
    """What a worker can be limited to."""

    FANOUT = "fanout"
    SENDER = "sender"
    JANITOR = "janitor"


class KeyScope(StrEnum):
    """What an API key can be good for."""

    ADMIN = "admin"
    PUBLISH = "publish"
    READ = "read"


@cli.command()
def up(
    data: Annotated[Path, typer.Option(help="Where store and keys are kept.")] = DATA,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: ApiPort = None,
    gateway_port: GatewayPort = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes.")] = 1,
    gateway: Annotated[bool, typer.Option(help="With a gateway for websockets.")] = True,
    api_only: Annotated[bool, typer.Option(help="No gateway, no worker.")] = False,
    as_json: Json = False,
) -> None:
    """Starts store, api, gateway and workers; Ctrl+C stops them."""
    from app.commands.up import Options, up

    if api_only:
        workers, gateway = 0, False
    asyncio.run(up(Options(data, host, port, gateway_port, workers, gateway, as_json)))


@cli.command()
def api() -> None:
    """Runs one api process."""
    from app.commands.api import run_api
    from app.commands.process import run_process

    run_process("api", run_api)


@cli.command()
def gateway() -> None:
    """Runs one gateway process, which holds websockets."""
    from app.commands.gateway import run_gateway
    from app.commands.process import run_process

    run_process("gateway", run_gateway)


@cli.command()
def worker(
    role: Annotated[
        list[WorkerRole] | None,
        typer.Option(help="Only this role; may be repeated. All of them unless given."),
    ] = None,
) -> None:
    """Runs one worker process, which fans out, sends and retries."""
    from app.commands.process import run_process
    from app.commands.worker import worker_of

    run_process("worker", worker_of(role))


@cli.command()
def listen(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None, typer.Option(help="whsec_… or whpk_…; may be repeated.")
    ] = None,
    fail: Annotated[float | None, typer.Option(min=0, max=1, help="Share that fails.")] = None,
    delay: Annotated[str, typer.Option(help="Before each answer: 250ms, 1s.")] = "0",
    status: Annotated[int | None, typer.Option(min=200, max=599, help="To fail with.")] = None,
    behave: Annotated[
        str | None, typer.Option(help="Ways to misbehave instead: drip,hang,… or all.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the same choices again.")] = None,
    path: Annotated[str | None, typer.Option(help="Others are answered with 404.")] = None,
    as_json: Json = False,
) -> None:
    """Receives webhooks, checks their signatures and shows them."""
    from app.commands.duration import duration_option_s
    from app.commands.listen import Options, listen, plan

    how = plan(fail, status, duration_option_s(delay, "--delay"), path, behave)
    asyncio.run(listen(Options(host, port, tuple(secret or ()), how, seed, as_json)))


@cli.command()
def tail(
    user: Annotated[str, typer.Option(help="Whose socket to open.")],
    url: Annotated[str | None, typer.Option(help="ws://HOST:PORT of the gateway.")] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Offset to go on from.")] = None,
    ack: Annotated[Literal["auto", "explicit"], typer.Option(help="How to acknowledge.")] = "auto",
    msgpack: Annotated[bool, typer.Option("--msgpack", help="Binary frames.")] = False,
    token: Annotated[str | None, typer.Option(help="A user token, instead of a key.")] = None,
    key: Key = None,
    api: Api = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Shows what is pushed to a user, frame by frame."""
    from app.commands.api_client import client_for
    from app.commands.tail import Options, gateway_url, new_tokens, tail

    new_token = None if token else new_tokens(client_for(api, key, data), user)
    options = Options(url or gateway_url(), token, new_token, after, ack, msgpack, as_json)
    asyncio.run(tail(options))


@cli.command()
def demo(
    seed: Annotated[int, typer.Option(help="Other people, friends and drops.")] = 1,
    as_json: Json = False,
) -> None:
    """Shows the service at work here, and checks what came of it.

    Has 300 people, 150 receivers that fail in every way, and 150 sockets; takes half a minute.
    """
    import uvloop

    from app.demo.run import demo

    uvloop.run(demo(seed, as_json=as_json))


@cli.command()
def doctor(data: Data = DATA, as_json: Json = False) -> None:
    """Checks settings and store, and says what to change."""
    from app.commands.doctor import doctor

    asyncio.run(doctor(data, as_json=as_json))


@keys.command("make")
def make_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[KeyScope], typer.Option(help="May be repeated.")],
    rate: Annotated[float | None, typer.Option(help="Requests a second it may send.")] = None,
    verify_endpoints: Annotated[
        bool,
        typer.Option(
            "--verify-endpoints", help="Endpoints made with it have to echo a challenge first."
        ),
    ] = False,
    key: Key = None,
    api: Api = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Makes an API key and prints it."""
    from app.commands import access
    from app.commands.api_client import client_for

    client = client_for(api, key, data)
    access.make_key(client, name, scope, rate, verify_endpoints=verify_endpoints, as_json=as_json)


@keys.command("list")
def list_keys(key: Key = None, api: Api = None, data: Data = DATA, as_json: Json = False) -> None:
    """Lists the API keys."""
    from app.commands import access
    from app.commands.api_client import client_for

    access.list_keys(client_for(api, key, data), as_json=as_json)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As listed.")],
    key: Key = None,
    api: Api = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Revokes an API key."""
    from app.commands import access
    from app.commands.api_client import client_for

    access.revoke_key(client_for(api, key, data), key_id, as_json=as_json)


@cli.command()
def token(
    user: Annotated[str, typer.Argument(help="Whose token.")],
    ttl: Annotated[str, typer.Option(help="How long it is good for: 30m, 1h, 7d.")] = "1h",
    key: Key = None,
    api: Api = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Makes a user token and prints it."""
    from app.commands import access
    from app.commands.api_client import client_for
    from app.commands.duration import duration_option_s

    ttl_s = int(duration_option_s(ttl, "--ttl"))
    access.make_token(client_for(api, key, data), user, ttl_s, as_json=as_json)


@secret_keys.callback()
def secret_key() -> None:
    """The key that seals what is secret of endpoints."""


@secret_keys.command("rotate")
def rotate_secret_key(data: Data = DATA, as_json: Json = False) -> None:
    """Seals all anew with the newest key, while the service runs.

    Can be stopped and run again.
    """
    from app.commands.secret_key import rotate

    asyncio.run(rotate(data, as_json=as_json))


@cli.command()
def version(as_json: Json = False) -> None:
    """Prints the version."""
    typer.echo(json.dumps({"version": __version__}) if as_json else __version__)


def main() -> None:
    """Runs the command line. A mistake of its user is a line on standard error, never a trace."""
    from app.commands.crash import mask_crashes
    from app.errors import CommandFailed, UsageMistake

    mask_crashes()
    try:
        # Called by itself, Typer would put a hook of its own in the place of ours.
        typer.main.get_command(cli)()
    except CommandFailed as error:
        from app.commands.terminal import complain

        complain(str(error))
        sys.exit(2 if isinstance(error, UsageMistake) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Who read our output has gone; what Python flushes at exit would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
