"""Where the store is: a URL read into addresses, login and TLS options."""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import parse_qsl, unquote

from app.errors import StoreUrlInvalid

PORT = 6379
SENTINEL_PORT = 26379

_FORMS = """write one of
  redis://[user:password@]host[:port][/db]
  rediss://…                                     the same over TLS, with
      ?ssl_ca_certs=FILE                         who vouches for the server
      &ssl_certfile=FILE&ssl_keyfile=FILE        who we are, if the server asks
  unix:///path/of/the.sock[?db=0]
  redis+sentinel://[user:password@]host:port,host:port/service[/db]
  redis+cluster://[user:password@]host:port[,host:port]
(rediss+sentinel and rediss+cluster for TLS)"""

# The names that redis-py and its kin use for the same things.
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"})
_LOGIN_OPTIONS = frozenset({"db", "username", "password"})
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})


class Kind(StrEnum):
    """How the servers behind a URL belong together."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """One server: a host and port, or the path of a Unix socket (then `host` is that path)."""

    host: str
    port: int

    @property
    def is_path(self) -> bool:
        return self.port == 0

    def __str__(self) -> str:
        return self.host if self.is_path else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """What a connection says first. An empty password means: say nothing."""

    user: str = ""
    password: str = field(default="", repr=False)
    db: int = 0


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A store's URL, read. `service` is the name that Sentinels know the primary by."""

    kind: Kind
    addresses: tuple[Address, ...]
    login: Login
    service: str = ""
    sentinel_login: Login = Login()
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, text: str, password: str | None = None) -> "StoreUrl":
        """Reads a URL; `password` is the login's where it comes by another way.

        Raises StoreUrlInvalid, whose message says what to write instead.
        """
        read = cls._parse(text)
        if not password:
            return read
        if read.login.password:
            raise _invalid("it has a password, and another one is set beside it")
        return replace(read, login=replace(read.login, password=password))

    @classmethod
    def _parse(cls, text: str) -> "StoreUrl":
        scheme, separator, rest = text.partition("://")
        if not separator:
            raise _invalid("it has no scheme")
        rest, _, query = rest.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        credentials, _, place = rest.rpartition("@")
        hosts, _, path = place.partition("/")
        if scheme == "unix":
            return _unix(credentials, hosts, path, options)
        secure = scheme.startswith("rediss")
        match scheme:
            case "redis" | "rediss":
                return _single(credentials, hosts, path, options, secure)
            case "redis+sentinel" | "rediss+sentinel":
                return _sentinel(credentials, hosts, path, options, secure)
            case "redis+cluster" | "rediss+cluster":
                return _cluster(credentials, hosts, path, options, secure)
            case _:
                raise _invalid(f"'{scheme}' is not a scheme of it")


def passwords_of(text: str) -> Iterator[str]:
    """The passwords in a URL, however wrong it is otherwise: as written, and as read."""
    rest, _, query = text.partition("://")[2].partition("?")
    written = rest.rpartition("@")[0].partition(":")[2]
    yield from filter(None, (written, unquote(written)))
    options = dict(parse_qsl(query))
    yield from (options[name] for name in ("password", "sentinel_password") if name in options)


def _unix(credentials: str, hosts: str, path: str, options: Mapping[str, str]) -> StoreUrl:
    _refuse_unknown(options, _LOGIN_OPTIONS)
    if hosts or not path:
        raise _invalid("after unix:// must come an absolute path, that is a third slash")
    login = _login(credentials, options, options.get("db", ""))
    return StoreUrl(Kind.SINGLE, (Address("/" + unquote(path), 0),), login)


def _single(
    credentials: str, hosts: str, path: str, options: Mapping[str, str], secure: bool
) -> StoreUrl:
    _refuse_unknown(options, _allowed(secure))
    addresses = _addresses(hosts, PORT)
    if len(addresses) != 1:
        raise _invalid("several hosts need redis+cluster:// or redis+sentinel://")
    login = _login(credentials, options, path or options.get("db", ""))
    return StoreUrl(Kind.SINGLE, addresses, login, tls=_tls(options, secure))


def _sentinel(
    credentials: str, hosts: str, path: str, options: Mapping[str, str], secure: bool
) -> StoreUrl:
    _refuse_unknown(options, _allowed(secure) | _SENTINEL_OPTIONS)
    service, _, db = path.partition("/")
    if not service:
        raise _invalid("the name of the service is missing after the hosts")
    return StoreUrl(
        Kind.SENTINEL,
        _addresses(hosts, SENTINEL_PORT),
        _login(credentials, options, db or options.get("db", "")),
        service=unquote(service),
        sentinel_login=Login(
            options.get("sentinel_username", ""), options.get("sentinel_password", "")
        ),
        tls=_tls(options, secure),
    )


def _cluster(
    credentials: str, hosts: str, path: str, options: Mapping[str, str], secure: bool
) -> StoreUrl:
    _refuse_unknown(options, _allowed(secure))
    login = _login(credentials, options, path or options.get("db", ""))
    if login.db:
        raise _invalid("a cluster has only database 0")
    return StoreUrl(Kind.CLUSTER, _addresses(hosts, PORT), login, tls=_tls(options, secure))


def _addresses(hosts: str, port_default: int) -> tuple[Address, ...]:
    return tuple(_address(host, port_default) for host in hosts.split(","))


def _address(text: str, port_default: int) -> Address:
    """`host`, `host:port`, `[v6]` or `[v6]:port`."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host:
        raise _invalid("a host is missing")
    return Address(host, _number(port, "a port", 1, 65_535) if port else port_default)


def _login(credentials: str, options: Mapping[str, str], db: str) -> Login:
    user, _, password = credentials.partition(":")
    return Login(
        unquote(user) or options.get("username", ""),
        unquote(password) or options.get("password", ""),
        _number(db, "the database", 0, 65_535) if db else 0,
    )


def _number(text: str, what: str, lowest: int, highest: int) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
        raise _invalid(f"{what} must be a number from {lowest} to {highest}")
    return int(text)


def _tls(options: Mapping[str, str], secure: bool) -> ssl.SSLContext | None:
    if not secure:
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if certificate := options.get("ssl_certfile"):
            # A key that wants a passphrase would be asked for it on the terminal, and wait.
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), password="")
        elif "ssl_keyfile" in options:
            raise _invalid("ssl_keyfile needs its certificate, ssl_certfile, beside it")
    except OSError as error:
        raise _invalid(f"a file of its TLS options cannot be read ({error})") from error
    match options.get("ssl_cert_reqs", "required"):
        case "required":
            pass
        case "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        case _:
            raise _invalid("ssl_cert_reqs must be 'required' or 'none'")
    return context


def _allowed(secure: bool) -> frozenset[str]:
    return _LOGIN_OPTIONS | _TLS_OPTIONS if secure else _LOGIN_OPTIONS


def _refuse_unknown(options: Mapping[str, str], allowed: frozenset[str]) -> None:
    if unknown := sorted(options.keys() - allowed):
        raise _invalid(
            f"it does not know the option '{unknown[0]}', only {', '.join(sorted(allowed))}"
        )


def _invalid(reason: str) -> StoreUrlInvalid:
    return StoreUrlInvalid(f"this is no URL of a store: {reason}; {_FORMS}")
