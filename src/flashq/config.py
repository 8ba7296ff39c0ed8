"""Settings from the environment, checked once, frozen.

The only reader of the environment on the server's side. Everything else receives plain values, so that a test or a
second server in one process needs no environment at all.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from flashq.protocol.limits import MAX_DURATION_MS

VARIABLES: Final[dict[str, str]] = {
    "HOST": "listen address of every door; 0.0.0.0 must be asked for",
    "PORT": "JSON lines over TCP; 0 = any free port",
    "UNIX_SOCKET": "path of a Unix socket that speaks the same lines",
    "HTTP": "on (the default) or off",
    "HTTP_PORT": "REST, events and pages over HTTP, 6790 unless PORT is 0; 0 = any free port",
    "CORS_ALLOW_ORIGIN": "comma separated origins of other sites whose pages may use the HTTP door; * = any",
    "ALLOWED_HOSTS": "comma separated names by which the HTTP door may be called; * = any",
    "DATA_DIR": "folder for the database; made with mode 0700 if it is missing",
    "DATABASE_URL": "sqlite:///PATH, postgres://USER:PASSWORD@HOST/DATABASE or memory://",
    "BACKUP_DIR": "folder for backups; backups beside the database, made with mode 0700 if it is missing",
    "BACKUP_KEEP": "backups that are kept, the youngest; 0 = all",
    "DURABILITY": "full: ok means synced to disk; relaxed: ok means handed to the operating system",
    "AUTH_TOKENS": "administrators' tokens, comma separated; without any token everybody may do everything",
    "TOKENS_FILE": "file of tokens with roles and queues; tokens.json in DATA_DIR, if it is there",
    "TLS_CERT": "certificate chain (PEM): every door on an address speaks TLS; needs TLS_KEY",
    "TLS_KEY": "its private key (PEM), not encrypted",
    "DEFAULT_MAX_ATTEMPTS": "failed attempts until the dead letters, for jobs that do not say; 0 = no bound",
    "DEFAULT_BACKOFF": "ms before the first retry, for jobs that do not say",
    "LEASE": "ms that an attempt may be silent when neither its job nor its worker bounds it",
    "WORKER_SILENCE": "ms without a heartbeat after which a worker is gone and its attempts fail",
    "MAX_MEMORY": "bytes for jobs; beyond it pushes are refused and everything else goes on",
    "WEBHOOK_ALLOW_PRIVATE": "1: webhooks may name this machine and addresses that are not public",
    "AUDIT": "1 or on: keep the history of every job and what operators do, for HISTORY and AUDITLOG",
    "AUDIT_KEEP_DAYS": "days for which it is kept",
    "AUDIT_MAX_ROWS": "entries of jobs that are kept at the most",
    "LOOP": "auto, uvloop or asyncio",
    "LOG_LEVEL": "debug, info, warning or error",
    "LOG_FORMAT": "text: lines for people; json: one object a line",
}
"""Every variable that the server reads, with what it does; `flashq serve --help` and the tests read it too."""


FLAGS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
"""How a yes or a no may be written."""


class ConfigError(ValueError):
    """A variable has a value that it may not have. The text names the variable and never echoes a secret."""


class Config(Struct, frozen=True, kw_only=True):
    """What a server needs to know before it starts.

    Attributes:
        host, port, unix_socket: where to listen.
        http, http_port: whether to listen for HTTP, and where.
        cors_allow_origin: origins of other sites whose pages may use HTTP.
        allowed_hosts: names by which the HTTP door may be called; empty: on a loopback address without tokens those
            of that address, else any.
        data_dir, database_url, durability: what remembers; an empty URL means ``flashq.db`` in the data folder.
        backup_dir, backup_keep: where backups are made, and how many are kept; an empty folder means ``backups``
            beside the database.
        auth_tokens: administrators' tokens; without these and without a token file everybody is welcome.
        tokens_file: tokens with roles; empty means ``tokens.json`` in the data folder, if it is there.
        tls_cert, tls_key: paths of a certificate and its key; empty: no TLS.
        default_max_attempts, default_backoff, lease, worker_silence, max_memory: see `flashq.engine.settings.Settings`.
        webhook_allow_private: webhooks may name this machine and addresses that are not public.
        audit, audit_keep_days, audit_max_rows: whether the history of jobs is kept, and how much of it.
        loop: which event loop.
        log_level, log_format: how much is logged, and for whom.
    """

    host: str = "127.0.0.1"
    port: int = 6789
    unix_socket: str = ""
    http: bool = True
    http_port: int = 6790
    cors_allow_origin: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    data_dir: str = "flashq-data"
    database_url: str = ""
    durability: Literal["full", "relaxed"] = "full"
    backup_dir: str = ""
    backup_keep: int = 7
    auth_tokens: tuple[str, ...] = ()
    tokens_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    default_max_attempts: int = 3
    default_backoff: int = 1_000
    lease: int = 30 * 60 * 1_000
    worker_silence: int = 30_000
    max_memory: int = 1024 * 1024 * 1024
    webhook_allow_private: bool = False
    audit: bool = False
    audit_keep_days: int = 30
    audit_max_rows: int = 10_000_000
    loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @property
    def storage_url(self) -> str:
        """The database URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir}/flashq.db"

    @property
    def tokens_path(self) -> Path:
        """Where the token file is, or would be."""
        return Path(self.tokens_file or f"{self.data_dir}/tokens.json")

    @property
    def beyond_loopback(self) -> bool:
        """Whether other machines may reach the doors."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


def from_environment(environment: Mapping[str, str] | None = None, **given: str | int | None) -> Config:
    """The settings of the environment, overridden by what was given (by name of the variable in lower case).

    Raises:
        ConfigError: a value is out of range or unreadable.
    """
    source = dict(os.environ if environment is None else environment)
    source |= {name.upper(): str(value) for name, value in given.items() if value is not None}
    port = _number(source, "PORT", 6789, 0, 65_535)
    return Config(
        host=_text(source, "HOST", "127.0.0.1"),
        port=port,
        unix_socket=source.get("UNIX_SOCKET", ""),
        http=_flag(source, "HTTP", default=True),
        http_port=_number(source, "HTTP_PORT", 6790 if port else 0, 0, 65_535),
        cors_allow_origin=_list(source, "CORS_ALLOW_ORIGIN"),
        allowed_hosts=_list(source, "ALLOWED_HOSTS"),
        data_dir=_text(source, "DATA_DIR", "flashq-data"),
        database_url=source.get("DATABASE_URL", ""),
        durability=_word(source, "DURABILITY", "full", ("full", "relaxed")),  # type: ignore[arg-type]
        backup_dir=_text(source, "BACKUP_DIR", "") if "BACKUP_DIR" in source else "",
        backup_keep=_number(source, "BACKUP_KEEP", 7, 0, 2**31),
        auth_tokens=_tokens(source),
        tokens_file=_text(source, "TOKENS_FILE", "") if "TOKENS_FILE" in source else "",
        tls_cert=_pair(source, "TLS_CERT", "TLS_KEY"),
        tls_key=_pair(source, "TLS_KEY", "TLS_CERT"),
        default_max_attempts=_number(source, "DEFAULT_MAX_ATTEMPTS", 3, 0, 2**32 - 1),
        default_backoff=_number(source, "DEFAULT_BACKOFF", 1_000, 0, MAX_DURATION_MS),
        lease=_number(source, "LEASE", 30 * 60 * 1_000, 1_000, MAX_DURATION_MS),
        worker_silence=_number(source, "WORKER_SILENCE", 30_000, 100, MAX_DURATION_MS),
        max_memory=_number(source, "MAX_MEMORY", 1024**3, 1024**2, 2**53),
        webhook_allow_private=_flag(source, "WEBHOOK_ALLOW_PRIVATE", default=False),
        audit=_flag(source, "AUDIT", default=False),
        audit_keep_days=_number(source, "AUDIT_KEEP_DAYS", 30, 1, 36_500),
        audit_max_rows=_number(source, "AUDIT_MAX_ROWS", 10_000_000, 1, 2**53),
        loop=_word(source, "LOOP", "auto", ("auto", "uvloop", "asyncio")),  # type: ignore[arg-type]
        log_level=_word(source, "LOG_LEVEL", "info", ("debug", "info", "warning", "error")),  # type: ignore[arg-type]
        log_format=_word(source, "LOG_FORMAT", "text", ("text", "json")),  # type: ignore[arg-type]
    )


def _text(source: Mapping[str, str], name: str, default: str) -> str:
    value = source.get(name, default)
    if not value.strip():
        raise ConfigError(f"{name} is set but empty")
    return value


def _number(source: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = source.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise ConfigError(f"{name} must be a whole number, not {text[:40]!r}") from None
    if not least <= value <= most:
        raise ConfigError(f"{name} must be between {least} and {most}, not {value}")
    return value


def _word(source: Mapping[str, str], name: str, default: str, words: tuple[str, ...]) -> str:
    value = source.get(name, default).strip().lower()
    if value not in words:
        raise ConfigError(f"{name} must be one of {', '.join(words)}, not {value[:40]!r}")
    return value


def _flag(source: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = source.get(name)
    if text is None:
        return default
    word = text.strip().lower()
    if word not in FLAGS:
        raise ConfigError(f"{name} must be one of {', '.join(FLAGS)}, not {text[:40]!r}")
    return FLAGS[word]


def _list(source: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in source.get(name, "").split(",") if word.strip())


def _pair(source: Mapping[str, str], name: str, other: str) -> str:
    """A text that needs another one beside it."""
    if name not in source:
        return ""
    if other not in source:
        raise ConfigError(f"{name} needs {other} beside it")
    return _text(source, name, "")


def _tokens(source: Mapping[str, str]) -> tuple[str, ...]:
    text = source.get("AUTH_TOKENS")
    if text is None:
        return ()
    tokens = tuple(token.strip() for token in text.split(",") if token.strip())
    if not tokens:
        raise ConfigError("AUTH_TOKENS is set but holds no token; unset it to allow everybody")
    return tokens
