"""Every exception that this project raises for others to catch.

MomentsError
├── Rejected                what somebody gave us cannot be taken; the message says what to do
│   ├── UrlRejected         the address of an endpoint
│   ├── ProxyRejected       the address of the egress proxy (also a ValueError)
│   ├── HeadersRejected     the headers an endpoint wants to be sent
│   └── BadSecret           a webhook secret or signing key (also a ValueError)
├── Unreachable             there is no address to connect to
│   ├── Blocked             the guard forbids it
│   └── Unresolved          the name has none
├── DecodeError             bytes of ours that do not read as they should
├── SealingError            a secret kept in the store cannot be sealed or opened
│   ├── BadSealingKey       the key is not 32 bytes in base64 (also a ValueError)
│   ├── SealedByAnotherKey  the key it was sealed with is not among ours
│   └── BrokenSeal          changed, cut, or another endpoint's
├── BadToken                a user token that does not hold; the message never quotes it
│   └── ExpiredToken        it did hold, up to some time ago
├── BadTokenKey             the public key for user tokens cannot be used (also a ValueError)
├── Refused                 a call that is understood and cannot be done as things stand
│   ├── IdempotencyMismatch an Idempotency-Key seen before, with another request
│   ├── PostNotFound        no such post, or its retention is over
│   ├── PostDeleted         the author has taken it back
│   ├── TooManyVersions     the post was edited as often as one may be
│   ├── GraphFull           one more edge than a user may have
│   ├── TooManyEndpoints    one more endpoint than a user may have
│   ├── EndpointUnverified  it has to echo a challenge first
│   └── TooManyApiKeys      one more API key than there may be
├── BacklogFull             more posts are waiting than may; try again soon
├── TooManyChallenges       a host gets as many as it may in this time; try again later
├── NoSender                no sender answered in time
├── LeaseLost               the shard is another worker's now
├── ClientClosed            a request was given to an HTTP client that is shutting down
├── StoreError              what the store said, or failed to say
│   ├── StoreUnavailable    it cannot answer now; trying again later may help
│   │   ├── ConnectionLost  the connection broke after the command had been sent
│   │   ├── Demoted         the server has become a replica
│   │   └── Redirected      the key lives, or is on its way, elsewhere in the cluster
│   ├── StoreFull           its memory limit is reached: reads work, writes do not
│   ├── NotDurable          written, but not confirmed as safe in time
│   ├── GroupMissing        the stream has no such consumer group
│   ├── ScriptMissing       the server does not hold the script (again)
│   └── CommandRejected     any other error reply: a mistake of ours, trying again does not help
├── StoreUnfit              this store must not be used as it is; the message says what to change
│   ├── StoreUrlInvalid     its URL
│   ├── ShardsMismatch      the number of shards
│   ├── SchemaTooNew        a newer release has been here
│   └── SchemaUnknown       none of ours has written this
├── EmbeddedServerError     the bundled server
│   ├── DirectoryInUse      another process has this data directory
│   └── ServerNotStarted    it ended, or did not answer, while starting
└── CommandFailed           a command of the command line cannot go on
    └── UsageMistake        because of how it was called or configured

A failed webhook request is not here: that is data, an `Outcome`.
"""


class MomentsError(Exception):
    """Root of the tree above."""


class Rejected(MomentsError):
    """What somebody gave us cannot be taken. The message is for them and says what to do."""


class UrlRejected(Rejected):
    """This URL cannot be the address of an endpoint."""


class ProxyRejected(Rejected, ValueError):
    """This cannot be the address of an egress proxy. The message never holds its password."""


class HeadersRejected(Rejected):
    """These headers cannot be sent with a webhook."""


class BadSecret(Rejected, ValueError):
    """This webhook secret or signing key cannot be used. The message never holds it."""


class Unreachable(MomentsError):
    """There is no address that a request to this URL could be sent to."""


class Blocked(Unreachable):
    """The guard forbids the port, or one of the addresses behind the name.

    The message does not tell the address: it may go to someone who must not learn what the names
    of our network resolve to.
    """


class Unresolved(Unreachable):
    """The name has no address, or nobody could be asked for it."""


class ClientClosed(MomentsError):
    """The HTTP client is shutting down and takes no more requests."""


class StoreError(MomentsError):
    """What the store said, or failed to say."""


class StoreUnavailable(StoreError):
    """The store cannot answer now: unreachable, loading, failing over, overloaded."""


class ConnectionLost(StoreUnavailable):
    """The connection broke after the command had been sent: it may have run or not."""


class Demoted(StoreUnavailable):
    """The server has become a replica; nothing was written."""


class Redirected(StoreUnavailable):
    """The key lives elsewhere in the cluster, or its slot is on the way there.

    `address` is (host, port), the host empty for "where you asked"; None means: ask here again.
    With `once` the address holds for this one command (ASK), without it for good (MOVED).
    """

    def __init__(self, message: str, address: tuple[str, int] | None, *, once: bool) -> None:
        super().__init__(message)
        self.address = address
        self.once = once


class StoreFull(StoreError):
    """The store's memory limit is reached: reads work, writes are refused."""


class NotDurable(StoreError):
    """Written, but neither disk nor replica confirmed it in time. The write itself stands."""


class GroupMissing(StoreError):
    """The stream does not exist or has no such consumer group."""


class ScriptMissing(StoreError):
    """The server does not hold the script, even after it was loaded again."""


class CommandRejected(StoreError):
    """Any other error reply: a mistake of ours; trying again does not help.

    `code` is the reply's first word, e.g. `WRONGTYPE`, or what a script put there.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]


class StoreUnfit(MomentsError):
    """This store must not be used as it is. The message says what to change."""


class StoreUrlInvalid(StoreUnfit):
    """The store's URL cannot be read. The message says what to write, and holds no password."""


class ShardsMismatch(StoreUnfit):
    """The store was made for another number of shards."""


class SchemaTooNew(StoreUnfit):
    """A newer release has written this store."""


class SchemaUnknown(StoreUnfit):
    """What stands in the store's `meta` is nothing that any release writes."""


class EmbeddedServerError(MomentsError):
    """The bundled server cannot be used."""


class DirectoryInUse(EmbeddedServerError):
    """Another process has this data directory."""


class ServerNotStarted(EmbeddedServerError):
    """The server ended, or did not answer, while starting. The message holds its last words."""


class DecodeError(MomentsError):
    """Bytes that were to be a `kind` are not one. Keeps them: they may be all there is to go by."""

    def __init__(self, kind: str, raw: bytes) -> None:
        super().__init__(f"not a valid {kind}: {raw[:64]!r}")
        self.kind = kind
        self.raw = raw


class SealingError(MomentsError):
    """A secret kept in the store cannot be sealed or opened."""


class BadSealingKey(SealingError, ValueError):
    """The key for secrets at rest is not 32 bytes in base64. The message never holds it."""


class SealedByAnotherKey(SealingError):
    """The key this was sealed with is not among those configured."""


class BrokenSeal(SealingError):
    """The sealed bytes were changed or cut, or belong to another endpoint."""


class BadToken(MomentsError):
    """A user token does not hold. The message says why, and never quotes it."""


class ExpiredToken(BadToken):
    """One that was signed with our key, and whose time is over."""


class BadTokenKey(MomentsError, ValueError):
    """A key for user tokens cannot be used. `setting` is where it was given."""

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(reason)
        self.setting = setting


class Refused(MomentsError):
    """The call is understood and cannot be done as things stand."""


class IdempotencyMismatch(Refused):
    """This Idempotency-Key came before with another request."""


class PostNotFound(Refused):
    """There is no such post, or its retention is over."""


class PostDeleted(Refused):
    """The post was deleted by its author."""


class TooManyVersions(Refused):
    """The post has been edited as often as one may be."""


class GraphFull(Refused):
    """`user` has `limit` edges of this kind, which is all they may have."""

    def __init__(self, user: str, limit: int) -> None:
        super().__init__(f"{user} has {limit} already, which is the limit")
        self.user = user
        self.limit = limit


class TooManyEndpoints(Refused):
    """The user has as many endpoints as they may."""


class EndpointUnverified(Refused):
    """The endpoint has to echo a challenge before it is sent anything else."""


class TooManyApiKeys(Refused):
    """There are as many API keys as there may be."""


class BacklogFull(MomentsError):
    """More posts are waiting to be fanned out than may. Try again soon."""


class TooManyChallenges(MomentsError):
    """One more challenge than may be sent in this time."""


class NoSender(MomentsError):
    """No sender answered in time: none runs, or it is overloaded."""


class LeaseLost(MomentsError):
    """The shard belongs to another worker now; what was under way here is theirs."""


class CommandFailed(MomentsError):
    """A command cannot go on. The message is one line for its user and says what to do."""


class UsageMistake(CommandFailed):
    """The command was called or configured wrongly."""
