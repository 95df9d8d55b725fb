import io
import json
import logging
import sys

import pytest

from app.log import JsonLines, TextLines, configure, mask, resolve

SECRETS = [
    ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw+/=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("the key mk_3vT9-x_Qa81bbcd was used", "3vT9-x_Qa81bbcd"),
    ("Authorization: Bearer abc.def-123", "abc.def-123"),
    ("authorization: bearer ABCDEF", "ABCDEF"),
    ("GET /v1/socket?after=3&token=t0ps3cret&ack=auto", "t0ps3cret"),
    ("redis://user:hunter2@store:6379/0", "hunter2"),
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2ln", "eyJzdWIiOiJib2IifQ"),
]


@pytest.fixture(autouse=True)
def _restore_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message="it happened", *args, exc_info=None, **fields):
    made = logging.getLogger("app.thing").makeRecord(
        "app.thing", logging.WARNING, "thing.py", 1, message, args, exc_info, extra=fields
    )
    made.created = 1767268801.2344
    return made


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_in_running_text_is_masked(text, secret):
    assert secret not in mask(text)
    assert "***" in mask(text)


def test_what_stands_round_a_secret_stays_readable():
    assert mask("GET /s?token=abc&after=3 HTTP/1.1") == "GET /s?token=***&after=3 HTTP/1.1"
    assert mask("redis://u:pw@host/0") == "redis://u:***@host/0"
    assert mask("https://host:443/a@b") == "https://host:443/a@b"


def test_ordinary_words_are_left_alone():
    text = "post 01h8-remk_x mkdir tokens=3 bearers of news"
    assert mask(text) == text


@pytest.mark.parametrize("formatter", [JsonLines("api"), TextLines(colour=False)])
@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_no_format_lets_a_secret_out_wherever_it_stands(formatter, text, secret):
    try:
        raise ValueError(text)
    except ValueError:
        made = record("seen %s", text, exc_info=sys.exc_info(), url=text, token="plain-token")
    line = formatter.format(made)
    assert secret not in line
    assert "plain-token" not in line


def test_a_json_line_is_one_object_with_every_field():
    line = JsonLines("sender").format(record("attempt %d", 2, status=503, error="http_5xx"))
    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2026-01-01T12:00:01.234Z",
        "level": "warning",
        "role": "sender",
        "logger": "app.thing",
        "event": "attempt 2",
        "status": 503,
        "error_": "http_5xx",
    }


def test_what_a_library_says_twice_is_written_once():
    line = JsonLines("api").format(record("served", color_message="\x1b[36mserved\x1b[0m"))
    assert "color_message" not in json.loads(line)


def test_a_json_line_stays_valid_when_a_secret_in_it_is_masked():
    line = JsonLines("api").format(record('a "Bearer abc" and \\token=x"', auth="Bearer abc"))
    assert json.loads(line)["auth"] == "Bearer ***"


def test_a_traceback_is_a_field_of_its_json_line():
    try:
        raise ValueError("broken")
    except ValueError:
        line = JsonLines("api").format(record(exc_info=sys.exc_info()))
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: broken")


def test_a_text_line_gives_level_event_and_fields():
    line = TextLines(colour=False).format(record("post accepted", post="01h", note="a b"))
    assert line.endswith('warning post accepted  post=01h note="a b"')


def test_text_from_outside_cannot_begin_a_line_of_its_own():
    line = TextLines(colour=False).format(record("bad\nuser", who="x\ninfo fake\x1b[2J"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_colour_is_put_round_the_level_alone():
    coloured = TextLines(colour=True).format(record())
    assert "\x1b[33mwarning\x1b[0m" in coloured
    assert coloured.count("\x1b") == 2


def test_auto_means_json_when_nobody_watches():
    assert resolve("auto", io.StringIO()) == "json"
    assert resolve("text", io.StringIO()) == "text"


def test_configure_sends_everything_of_the_process_to_one_stream():
    stream = io.StringIO()
    configure("json", "info", role="gateway", stream=stream)
    logging.getLogger("app.gateway").info("up", extra={"port": 8001})
    logging.getLogger("app.gateway").debug("not this")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["port"] == 8001
