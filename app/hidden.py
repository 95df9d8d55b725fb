"""The secrets this process was given, to be masked by value wherever it says something.

`app.log.mask` knows what secrets look like; a password may look like anything. So whoever reads the
settings tells it here, and what is said is searched for each of them, and for the forms that
encodings give them.
"""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

SHORTEST = 8  # characters; shorter ones stand in ordinary words
LONGEST = 16_384  # longer is no secret, and would be looked for in every text

MASK = "***"

_hidden: set[str] = set()
_pattern: re.Pattern[str] | None = None


def hide(secrets: Iterable[str | None]) -> None:
    """From now on no text of this process shows these, if they have 8 to 16,384 characters."""
    global _pattern
    for secret in secrets:
        if secret and SHORTEST <= len(secret) <= LONGEST:
            _hidden.update(_forms(secret))
    if _hidden:
        longest_first = sorted(_hidden, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first)))


def without_hidden(text: str) -> str:
    """The text with every secret that was told to `hide` replaced by `***`."""
    return text if _pattern is None else _pattern.sub(MASK, text)


def _forms(secret: str) -> set[str]:
    """As it is, in URLs, in the source of a string, and in base64."""
    raw = secret.encode(errors="surrogateescape")  # an environment may hold any bytes
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    return {
        secret,
        quote(raw, safe=""),
        quote_plus(raw),
        repr(secret)[1:-1],
        *(text.rstrip("=") for text in encoded),
    }
