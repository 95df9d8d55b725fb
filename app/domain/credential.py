"""How a credential tells what it is: an API key by its first characters, else it is a token."""

import re

API_KEY_PREFIX = "mk_"

# What fits into a header as it is. A made key has 46 characters.
_API_KEY = re.compile(API_KEY_PREFIX + r"[!-~]{13,509}")


def is_api_key(credential: str) -> bool:
    """Whether it is to be looked up as an API key, whether there is such a one or not."""
    return credential.startswith(API_KEY_PREFIX)


def may_be_api_key(text: str) -> bool:
    """Whether a text chosen by somebody can be an API key: one that a client can send."""
    return _API_KEY.fullmatch(text) is not None
