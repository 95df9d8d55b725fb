import io
import json
import logging
import sys
import time

import pytest

from app.log import JsonLines, TextLines, configure, mask, resolve

# A text, and the text that may be shown of it.
MASKED = [
    ("secret whsec_MfKQ9r8GKYqrTwjUPD8I+/=", "secret whsec_***"),
    ("the key mk_3vT9-x_Qa81bbcd was used", "the key mk_*** was used"),
    ("bad key whsk_dGhlIHNlY3JldA==.", "bad key whsk_***."),
    ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
    ("authorization: bearer ABCDEF", "authorization: bearer ***"),
    ("Proxy-Authorization: Basic dTpw", "Proxy-Authorization: Basic ***"),
    ("authorization: s3cret", "authorization: ***"),
    ("sent Bearer abc and waited", "sent Bearer *** and waited"),
    ("GET /s?token=abc&after=3 HTTP/1.1", "GET /s?token=***&after=3 HTTP/1.1"),
    ("/s?after=3&access_token=abc#top", "/s?after=3&access_token=***#top"),
    ("https://maps.example/v1?key=AIza123&q=x", "https://maps.example/v1?key=***&q=x"),
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2ln", "jwt ***"),
    ("a-eyJhbGciOiJIUzI1NiJ9", "a-***"),
    ("five parts: eyJhbGciOiJkaXIifQ..aXY.Y3Q.dGFn", "five parts: ***"),
    # whatever stands before the name
    ("sentinel_password=hunter2 db=0", "sentinel_password=*** db=0"),
    ("MOMENTS_SECRET_KEY=MDEy+/8=,b2xk next", "MOMENTS_SECRET_KEY=*** next"),
    ("MOMENTS_TOKEN_SECRET=a&b", "MOMENTS_TOKEN_SECRET=***"),
    ("MOMENTS_ADMIN_KEY=no-prefix-at-all", "MOMENTS_ADMIN_KEY=***"),
    ("clientSecret=abc", "clientSecret=***"),
    ("X-Api-Key: abc", "X-Api-Key: ***"),
    ("x-apikey=abc", "x-apikey=***"),
    ("token_secret: abc", "token_secret: ***"),
    ("x-token:abc", "x-token:***"),
    ("private_key=abc", "private_key=***"),
    ("password=pa\"ss'word rest", "password=*** rest"),
    # JSON, JSON in JSON, and what repr makes
    ('{"token": "a b", "user": "bob"}', '{"token": "***", "user": "bob"}'),
    ('{"token":"abc","user":"bob"}', '{"token":"***","user":"bob"}'),
    (r'{"password": "a\"b", "n": 1}', '{"password": "***", "n": 1}'),
    ('answered {"secret": "cut of', 'answered {"secret": "***'),
    (r'"{\"token\": \"a b\", \"n\": 1}"', r'"{\"token\": \"***\", \"n\": 1}"'),
    (r'"{\"token\": \"a\\\"b\"}"', r'"{\"token\": \"***\"}"'),
    ("{'api_key': 'abc', 'n': 1}", "{'api_key': '***', 'n': 1}"),
    ("Options(token='abc', n=1)", "Options(token='***', n=1)"),
    ("Target(secrets=(b'abc', b'def'), n=1)", "Target(secrets=(***), n=1)"),
    ("{b'secret': b'abc'}", "{b'secret': b'***'}"),
    ('token = "abc"', 'token = "***"'),
    ('MOMENTS_TOKEN_KEYS={"one": "abc"} n=1', "MOMENTS_TOKEN_KEYS={***} n=1"),
    # passwords in URLs
    ("redis://u:pw@host/0", "redis://u:***@host/0"),
    ("redis://user:pa@ss@host:6379/0", "redis://user:***@host:6379/0"),
    ("redis://:pa@ss:word@host", "redis://:***@host"),
    ("rediss://u:pa/s@s@host/0", "rediss://u:***@host/0"),
    ("redis://u:12'34@host", "redis://u:***@host"),
    ("redis://a:b@h1,redis://c:d@h2", "redis://a:***@h1,redis://c:***@h2"),
]
LEFT_ALONE = [
    "post 01h8-remk_x mkdir tokens=3 bearers of news",
    "https://host:443/a@b",
    "http://[::1]:8000/a@b",
    "bob@example.org at ws://host:8001/v1/socket?after=12&ack=auto",
    "user a:b@c",
    "key=posts:{3} store_key=posts:{3} idempotency_key=7 key_id=0123456789ab hint=abc",
    '{"key": "posts:{3}", "keys": 3, "tokens": 12, "token_ttl_s": 60}',
    "MOMENTS_SECRET_KEY is not set",
    "token = make_token(text, user)",
    "the token does not hold: expired",
    "Eyjafjallajokull.is",
    "POST /v1/endpoints/0123456702/secret:rotate HTTP/1.1",
    "",
]


def secret_in(text: str, shown: str) -> str:
    """What is not shown of a text, whole."""
    before, after = shown.split("***")[0], shown.split("***")[-1]
    return text[len(before) : len(text) - len(after)]


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


@pytest.mark.parametrize(("text", "shown"), MASKED)
def test_a_secret_in_running_text_is_masked_and_what_stands_round_it_stays(text, shown):
    assert mask(text) == shown
    assert mask(f"({text}\nand more") == f"({shown}\nand more"


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_ordinary_text_is_left_alone(text):
    assert mask(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "token", "token ", "token:", "token=(", "token='\\", 'secret"\\', "password=\\\\'"),
        *(
            "://a:",
            "://a:b'c",
            "://a:b/c@d ",
            "@:/",
            "&a_",
            "?key",
            "bearer ",
            "eyJ.",
            "-eyJ",
            "mk_",
            "\\",
        ),
    ],
)
def test_no_text_takes_longer_than_in_proportion_to_its_length(piece):
    text = piece * (200_000 // len(piece))
    begun = time.process_time()
    mask(text)
    assert time.process_time() - begun < 2  # with squares in it: minutes


@pytest.mark.parametrize("formatter", [JsonLines("api"), TextLines(colour=False)])
@pytest.mark.parametrize(("text", "shown"), MASKED)
def test_no_format_lets_a_secret_out_wherever_it_stands(formatter, text, shown):
    try:
        raise ValueError(text)
    except ValueError:
        deep = {"answers": [{"said": text}], "raw": text.encode()}
        made = record("seen %s", text, exc_info=sys.exc_info(), url=text, deep=deep)
    line = formatter.format(made)
    secret = secret_in(text, shown)
    for written in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
        assert written not in line.replace("***", "")


@pytest.mark.parametrize("formatter", [JsonLines("api"), TextLines(colour=False)])
@pytest.mark.parametrize(
    "name",
    [
        *("token", "secret", "secrets", "password", "authorization", "key", "api_key", "admin_key"),
        *("secret_key", "token_secret", "token_keys", "sentinel_password", "X-Api-Key", "apiKey"),
    ],
)
def test_a_field_that_is_a_secret_by_its_name_is_masked_whatever_is_in_it(formatter, name):
    for value in ("plain", b"plain", ["plain"], {"a": "plain"}, 7134):
        line = formatter.format(record("seen", **{name: value, "more": [{name: value}]}))
        assert "plain" not in line
        assert "7134" not in line


@pytest.mark.parametrize("name", ["key_id", "store_key", "tokens", "token_ttl_s", "hint", "keys"])
def test_a_field_that_only_speaks_of_keys_is_shown(name):
    assert json.loads(JsonLines("api").format(record(**{name: "posts:{3}"})))[name] == "posts:{3}"


def test_a_field_keeps_its_kind_and_what_json_does_not_know_is_text():
    fields = {"n": 1, "x": 0.5, "yes": True, "no": None, "many": (1, "b"), "raw": b"x", 3: {b"k"}}
    line = JsonLines("api").format(record("seen", deep=fields))
    assert json.loads(line)["deep"] == {
        **{"n": 1, "x": 0.5, "yes": True, "no": None},
        **{"many": [1, "b"], "raw": "b'x'", "3": ["b'k'"]},
    }


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


@pytest.mark.parametrize("format_", ["json", "text"])
def test_a_line_that_cannot_be_made_is_told_without_what_was_to_stand_in_it(format_):
    out = io.StringIO()
    configure(format_, "info", role="api", stream=out)
    text = "-".join(["hush"] * 3)
    logging.getLogger("app.thing").info("got %d", text)
    assert "test_log.py" in out.getvalue()
    assert "TypeError" in out.getvalue()
    assert text not in out.getvalue()
