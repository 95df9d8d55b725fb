"""Secrets that a process was given are masked by value, in any text and in what it says dying."""

import base64
import subprocess
import sys
from urllib.parse import quote

import pytest

from app.hidden import hide, without_hidden
from app.log import mask

PASSWORD = 'correct horse/"battery"+staple'


@pytest.mark.parametrize(
    "form",
    [
        *(PASSWORD, quote(PASSWORD, safe=""), repr(PASSWORD)[1:-1]),
        base64.b64encode(PASSWORD.encode()).decode().rstrip("="),
    ],
)
def test_a_secret_that_was_told_is_masked_in_every_form(form):
    text = f"it said {form} and ended"
    assert mask(text) == text
    hide([PASSWORD, None, ""])
    assert without_hidden(text) == mask(text) == "it said *** and ended"


def test_bytes_that_are_no_text_are_a_secret_like_any_other():
    secret = b"hush\xff\xfehush".decode(errors="surrogateescape")  # as os.environ has it
    hide([secret])
    assert mask(f"it said {secret}") == "it said ***"


def test_a_secret_that_holds_another_goes_whole():
    hide(["12345678", "12345678-and-more"])
    assert mask("a 12345678-and-more b 12345678") == "a *** b ***"


def test_what_is_short_enough_to_be_a_word_or_too_long_to_be_a_secret_is_left_alone():
    hide(["service", "moments", "x" * 20_000])
    assert mask("the service moments " + "x" * 20_000) == "the service moments " + "x" * 20_000


_DIES = """
import threading, sys
from app.commands.crash import mask_crashes
from app.hidden import hide
hide(["a-planted-password"])
mask_crashes()

def die(*_):
    raise ValueError("it was a-planted-password")

class Last:
    __del__ = die

if sys.argv[1] == "thread":
    thread = threading.Thread(target=die, name="some thread")
    thread.start()
    thread.join()
elif sys.argv[1] == "end":
    Last()
else:
    die()
"""


@pytest.mark.parametrize(
    ("where", "code", "first"),
    [
        ("main", 1, "Traceback (most recent call last)"),
        ("thread", 0, "Exception in thread some thread"),
        ("end", 0, "Exception ignored in"),
    ],
)
def test_the_trace_of_a_crash_is_masked_in_every_thread_and_at_the_end(where, code, first):
    done = subprocess.run(
        [sys.executable, "-c", _DIES, where], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == code
    assert done.stderr.startswith(first)
    assert "ValueError: it was ***" in done.stderr
    assert "planted" not in done.stderr
