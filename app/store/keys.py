"""The name of every key in the store, with its type, bound and life.

Every key but four (`meta`, `workers`, `nodes`, `apikeys`) carries its shard as the cluster hash
tag, so that all that one script touches lies in one slot. `t` is a recipient's shard, `s` an
author's or, in the graph, that of the user in the key. What is kept for a user stays until the
user's data is deleted; what has a TTL has it from the same script that makes the key.

    key                             type    bound                        ends
    meta                            hash    4 fields                     never
    workers                         zset    live processes               entries swept by age
    nodes                           zset    live processes               entries swept by age
    apikeys                         hash    API_KEYS_MAX, 1 of settings  revoked by call, or unset
    friends:{s}:user                zset    FRIENDS_MAX                  owner: the user
    follows:{s}:user                zset    FOLLOWS_MAX                  owner: the user
    followers:{s}:user              zset    FOLLOWS_MAX of each other    owner: the user
    blocks:{s}:user                 zset    BLOCKS_MAX                   owner: the user
    blockers:{s}:user               zset    BLOCKS_MAX of each other     owner: the user
    post:{s}:id                     hash    BODY_BYTES_MAX, and a field  TTL RETENTION_S
                                            for each of POST_VERSIONS_MAX
    posts:{s}                       stream  POSTS_BACKLOG_MAX            entries deleted on ack
    newest:{s}                      zset    500 ids                      TTL RETENTION_S
    idempotency:{s}:author:key      string  one id                       TTL IDEMPOTENCY_TTL_S
    inbox:{t}:user                  list    INBOX_MAX                    owner: the user
    trimmed:{t}                     hash    one field a user             owner: the user
    cursors:{t}                     hash    one field a user             owner: the user
    repushes:{t}                    hash    one field a user             owner: the user, gateway
    routes:{t}                      hash    one field a user             owner: the user, gateway
    roster:{t}:post:version:slice   string  one slice                    TTL RETENTION_S
    outcomes:{t}:post:version:slice hash    one field an endpoint        TTL RETENTION_S
    tally:{t}:post                  hash    one field a state, 2 more    TTL RETENTION_S
    deliveries:{t}                  stream  what was fanned out          entries deleted on ack
    redeliveries:{t}                stream  REDELIVERIES_MAX, and calls  entries deleted on ack
    retries:{t}                     zset    deliveries not final         moved when due
    parked:{t}:endpoint             zset    PARKED_MAX                   TTL RETENTION_S
    probes:{t}                      zset    ailing endpoints             owner: sender
    shift:{t}                       string  one number                   owner: sender
    batch:{t}                       string  id of the last batch         TTL RETENTION_S
    dead:{t}                        zset    DEAD_LETTERS_MAX             janitor, RETENTION_S
    endpoint:{t}:id                 hash    ENDPOINTS_MAX a user         owner: the user
    endpoint_states:{t}             hash    one field a state            counted with the state
    attempts:{t}:endpoint           list    ATTEMPT_LOG_MAX + 16         TTL 1.25 RETENTION_S
    changes:{t}                     stream  CHANGES_MAX (trimmed)        entries cut by length
    reply:{t}:id                    list    one element                  TTL 60 s
    challenges:{s}:host             string  one number; s as of a user   TTL 60 s
    sockets:{t}:node                stream  SOCKETS_BACKLOG_MAX          TTL 120 s
    lease:{t}:role                  string  one token                    TTL LEASE_S
    canary:{t}                      string  one time                     TTL 120 s
    process:{s}:id                  string  one snapshot; s as of a user TTL 10 s
"""

META = b"meta"
WORKERS = b"workers"
NODES = b"nodes"
API_KEYS = b"apikeys"

GROUP = b"workers"  # the one consumer group of every work stream
CONSUMER = b"owner"  # constant: whoever holds the lease reads under this name

FANOUT = "fanout"  # the roles a lease can be for
SENDER = "sender"
JANITOR = "janitor"


def friends(shard: int, user: str) -> bytes:
    return b"friends:{%d}:%b" % (shard, user.encode())


def follows(shard: int, user: str) -> bytes:
    return b"follows:{%d}:%b" % (shard, user.encode())


def followers(shard: int, user: str) -> bytes:
    return b"followers:{%d}:%b" % (shard, user.encode())


def blocks(shard: int, user: str) -> bytes:
    """Whom `user` blocks."""
    return b"blocks:{%d}:%b" % (shard, user.encode())


def blockers(shard: int, user: str) -> bytes:
    """Who blocks `user`."""
    return b"blockers:{%d}:%b" % (shard, user.encode())


def post(shard: int, post_id: str) -> bytes:
    return b"post:{%d}:%b" % (shard, post_id.encode())


def posts(shard: int) -> bytes:
    return b"posts:{%d}" % shard


def newest(shard: int) -> bytes:
    """Posts of this shard that are fanned out, by their id, which is by their time."""
    return b"newest:{%d}" % shard


def idempotency(shard: int, author: str, key_digest: str) -> bytes:
    return b"idempotency:{%d}:%b:%b" % (shard, author.encode(), key_digest.encode())


def inbox(shard: int, user: str) -> bytes:
    return b"inbox:{%d}:%b" % (shard, user.encode())


def trimmed(shard: int) -> bytes:
    return b"trimmed:{%d}" % shard


def cursors(shard: int) -> bytes:
    return b"cursors:{%d}" % shard


def repushes(shard: int) -> bytes:
    return b"repushes:{%d}" % shard


def routes(shard: int) -> bytes:
    return b"routes:{%d}" % shard


def roster(shard: int, post_id: str, version: int, slice_: int) -> bytes:
    return b"roster:{%d}:%b:%d:%d" % (shard, post_id.encode(), version, slice_)


def outcomes(shard: int, post_id: str, version: int, slice_: int) -> bytes:
    return b"outcomes:{%d}:%b:%d:%d" % (shard, post_id.encode(), version, slice_)


def tally(shard: int, post_id: str) -> bytes:
    return b"tally:{%d}:%b" % (shard, post_id.encode())


def deliveries(shard: int) -> bytes:
    return b"deliveries:{%d}" % shard


def redeliveries(shard: int) -> bytes:
    return b"redeliveries:{%d}" % shard


def retries(shard: int) -> bytes:
    return b"retries:{%d}" % shard


def parked(shard: int, endpoint_id: str) -> bytes:
    return b"parked:{%d}:%b" % (shard, endpoint_id.encode())


def dead(shard: int) -> bytes:
    return b"dead:{%d}" % shard


def probes(shard: int) -> bytes:
    """Endpoints that need looking after (open, disabled, draining), by when."""
    return b"probes:{%d}" % shard


def shift(shard: int) -> bytes:
    """By how many ms the wall clock is ahead of what `retries` and `probes` go by."""
    return b"shift:{%d}" % shard


def batch(shard: int) -> bytes:
    return b"batch:{%d}" % shard


def endpoint(shard: int, endpoint_id: str) -> bytes:
    return b"endpoint:{%d}:%b" % (shard, endpoint_id.encode())


def endpoint_states(shard: int) -> bytes:
    """How many endpoints are in each state; changed by whatever script changes a state."""
    return b"endpoint_states:{%d}" % shard


def attempts(shard: int, endpoint_id: str) -> bytes:
    return b"attempts:{%d}:%b" % (shard, endpoint_id.encode())


def changes(shard: int) -> bytes:
    return b"changes:{%d}" % shard


def reply(shard: int, request_id: str) -> bytes:
    return b"reply:{%d}:%b" % (shard, request_id.encode())


def challenges(shard: int, host: str) -> bytes:
    """How many challenges a host was sent in this minute; `shard` is that of its name."""
    return b"challenges:{%d}:%b" % (shard, host.encode())


def sockets(shard: int, node: str) -> bytes:
    return b"sockets:{%d}:%b" % (shard, node.encode())


def lease(shard: int, role: str) -> bytes:
    return b"lease:{%d}:%b" % (shard, role.encode())


def canary(shard: int) -> bytes:
    return b"canary:{%d}" % shard


def process(shard: int, id_: str) -> bytes:
    """What a process tells of itself; `shard` is that of its id."""
    return b"process:{%d}:%b" % (shard, id_.encode())


def tag(shard: int) -> bytes:
    """The hash tag from which a script derives the keys that it finds out about on its way."""
    return b"{%d}" % shard
