"""The table of calls: from it come both the routes and their description."""

from app.api import deliveries, endpoints, feed, graph, keys, operations, posts, tokens
from app.api.auth import Access
from app.api.call import Call
from app.api.schemas.access import Keys, MadeKey, Token
from app.api.schemas.deliveries import (
    Attempt,
    Attempts,
    DeadLetters,
    Deliveries,
    FullDelivery,
    Scheduled,
)
from app.api.schemas.endpoints import Endpoint, Endpoints, FullEndpoint
from app.api.schemas.feed import Cursor, Feed
from app.api.schemas.graph import Imported, Users
from app.api.schemas.operations import Health, Readiness, Stats
from app.api.schemas.posts import Post, Posts

PUBLIC, READ, PUBLISH, ADMIN = Access.PUBLIC, Access.READ, Access.PUBLISH, Access.ADMIN
OWN_FEED, OWN_CURSOR = Access.OWN_FEED, Access.OWN_CURSOR

USER = "/v1/users/{user}"
ENDPOINT = "/v1/endpoints/{endpoint}"
POST = "/v1/posts/{post}"
DELIVERY = "/v1/deliveries/{delivery}"

# fmt: off
# The first rows are matched first, so what is called most stands at the top.
CALLS: tuple[Call, ...] = (
    Call("POST",   "/v1/posts",                 PUBLISH,    posts.accept,       202, Post),
    Call("GET",    USER + "/feed",              OWN_FEED,   feed.read,          200, Feed,
         waits_s=feed.waits_s),
    Call("PUT",    USER + "/cursor",            OWN_CURSOR, feed.move_cursor,   200, Cursor),

    Call("GET",    "/v1/posts",                 READ,       posts.newest,       200, Posts),
    Call("GET",    POST,                        READ,       posts.read,         200, Post),
    Call("PATCH",  POST,                        PUBLISH,    posts.edit,         202, Post),
    Call("DELETE", POST,                        PUBLISH,    posts.delete,       202, Post),
    Call("GET",    POST + "/deliveries",        READ,       deliveries.of_post, 200, Deliveries),
    Call("GET",    DELIVERY,                    READ,       deliveries.read,    200, FullDelivery),
    Call("POST",   DELIVERY + ":retry",         ADMIN,      deliveries.retry,   202, FullDelivery),
    Call("GET",    "/v1/dead-letters",          READ,       deliveries.dead,    200, DeadLetters),
    Call("POST",   "/v1/dead-letters:replay",   ADMIN,      deliveries.replay,  202, Scheduled),

    Call("PUT",    USER + "/friends/{other}",   ADMIN,      graph.befriend,     204),
    Call("DELETE", USER + "/friends/{other}",   ADMIN,      graph.unfriend,     204),
    Call("PUT",    USER + "/follows/{other}",   ADMIN,      graph.follow,       204),
    Call("DELETE", USER + "/follows/{other}",   ADMIN,      graph.unfollow,     204),
    Call("PUT",    USER + "/blocks/{other}",    ADMIN,      graph.block,        204),
    Call("DELETE", USER + "/blocks/{other}",    ADMIN,      graph.unblock,      204),
    Call("GET",    USER + "/friends",           READ,       graph.friends,      200, Users),
    Call("GET",    USER + "/follows",           READ,       graph.follows,      200, Users),
    Call("GET",    USER + "/followers",         READ,       graph.followers,    200, Users),
    Call("GET",    USER + "/blocks",            READ,       graph.blocks,       200, Users),
    Call("POST",   "/v1/graph:import",          ADMIN,      graph.load,         200, Imported,
         waits_s=graph.waits_s),

    Call("POST",   "/v1/endpoints",             ADMIN,      endpoints.create,   201, FullEndpoint),
    Call("GET",    USER + "/endpoints",         READ,       endpoints.of_user,  200, Endpoints),
    Call("GET",    ENDPOINT,                    READ,       endpoints.read,     200, Endpoint),
    Call("PATCH",  ENDPOINT,                    ADMIN,      endpoints.change,   200, Endpoint),
    Call("DELETE", ENDPOINT,                    ADMIN,      endpoints.delete,   204),
    Call("POST",   ENDPOINT + "/secret:rotate", ADMIN,      endpoints.rotate,   200, FullEndpoint),
    Call("POST",   ENDPOINT + ":ping",          ADMIN,      endpoints.ping,     200, Attempt,
         waits_s=endpoints.waits_s),
    Call("POST",   ENDPOINT + ":verify",        ADMIN,      endpoints.verify,   200, Attempt,
         waits_s=endpoints.waits_s),
    Call("POST",   ENDPOINT + ":enable",        ADMIN,      endpoints.enable,   200, Endpoint),
    Call("POST",   ENDPOINT + ":recover",       ADMIN,      endpoints.recover,  202, Scheduled),
    Call("GET",    ENDPOINT + "/attempts",      READ,       endpoints.attempts, 200, Attempts),

    Call("POST",   USER + "/tokens",            ADMIN,      tokens.create,      201, Token),
    Call("POST",   "/v1/keys",                  ADMIN,      keys.create,        201, MadeKey),
    Call("GET",    "/v1/keys",                  ADMIN,      keys.every,         200, Keys),
    Call("DELETE", "/v1/keys/{key}",            ADMIN,      keys.revoke,        204),

    Call("GET",    "/healthz",                  PUBLIC,     operations.health,  200, Health),
    Call("GET",    "/readyz",                   PUBLIC,     operations.ready,   200, Readiness),
    Call("GET",    "/metrics",                  PUBLIC,     operations.metrics, 200),
    Call("GET",    "/v1/stats",                 READ,       operations.stats,   200, Stats),
)
# fmt: on
