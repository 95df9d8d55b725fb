"""The keys that user tokens are checked with, from the settings."""

from app.commands.environment import variable
from app.errors import BadTokenKey, CommandFailed
from app.settings import Settings
from app.tokens import TokenVerifier


def make_verifier(settings: Settings) -> TokenVerifier:
    """What checks user tokens, in the api and in the gateway alike.

    Raises CommandFailed that names the setting with a key that cannot be used.
    """
    try:
        return TokenVerifier.of(settings)
    except BadTokenKey as error:
        raise CommandFailed(f"{variable(error.setting)}: {error}") from error
