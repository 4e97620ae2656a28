"""What the environment says, read and checked before Django sees any of it.

Every mistake is collected, and all are reported together, each with the name of its variable. No message repeats a
value that may hold a password or a key.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import dj_database_url
import psycopg
from django.core.exceptions import ImproperlyConfigured
from environs import Env, EnvError
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

from memops.console.characters import hidden, is_text, quoted
from project.private import make_folder

T = TypeVar("T")

ALIAS = re.compile(r"[a-z][a-z0-9_]{0,62}")
APPROVAL_RULE = re.compile(
    r"([^/=,\s]+)/(\*|rollback|undo|restore|backup|verify|deploy|purge|purge-without-backup)=([0-9])"
    r"(?::([\w .-]+(?:\+[\w .-]+)*))?(?:@([1-9][0-9]{0,2}))?"
)
ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
NUMBER = re.compile(r"-?[0-9]{1,18}")
KEY_BYTES = 32
KNOWN_ANN_INDEXES = ("hnsw", "ivfflat")
MAX_INDEXABLE_DIMENSION = 2000

CONNECTION = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""libpq's settings with which a server that has vanished from the network is noticed within half a minute. Left to the
system that takes two hours, or a quarter of one while something is on its way. What a URL says counts instead."""

LIBPQ = {
    option.envvar.decode(): option.keyword.decode()
    for option in psycopg.pq.Conninfo.get_defaults()
    if option.envvar and option.keyword not in (b"application_name", b"client_encoding", b"connect_timeout")
}
LIBPQ["PGDATESTYLE"] = ""  # In any other than ISO no time that the console has kept can be read.
"""Variables from which libpq takes what a URL leaves out, and memops does not say itself; what a URL calls it."""

FOR_THE_NETWORK = re.compile(r"PGPASS.*|PGSSL.*|PGGSS.*|PGKRBSRVNAME|PGCHANNELBINDING|PGLOADBALANCEHOSTS")
"""The embedded server asks for no password and listens on a socket alone: these change nothing there."""
MAX_WORK_MEM_BYTES = (2**31 - 1) * 1024  # PostgreSQL counts kilobytes in an int.


class SettingsInvalid(ImproperlyConfigured):
    """The environment holds mistakes; ``problems`` lists them all, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The settings in the environment cannot be used:\n" + "\n".join(f"  {p}" for p in problems))


class Environment:
    """Reads variables one by one; a wrong one is noted and its default returned, until ``finish`` reports them all."""

    def __init__(self) -> None:
        self.env = Env()
        self.problems: list[str] = []

    def wrong(self, variable: str, problem: str) -> None:
        self.problems.append(f"{variable} {problem}")

    def finish(self) -> None:
        if self.problems:
            raise SettingsInvalid(self.problems)

    def read(self, parse: Callable[..., T], variable: str, default: T, *, expected: str) -> T:
        """Read by one of environs' parsers (``env.int``, ...); an empty variable counts as unset."""
        given = os.environ.get(variable, "")
        if not given.strip():
            return default
        if found := hidden(given):
            self.wrong(variable, f"has characters that do not show: {found}.")
            return default
        try:
            return parse(variable)
        except EnvError:
            self.wrong(variable, f"has to be {expected}.")
            return default

    def text(self, variable: str, default: str = "") -> str:
        return self.read(self.env.str, variable, default, expected="text").strip()

    def boolean(self, variable: str, default: bool = False) -> bool:
        return self.read(self.env.bool, variable, default, expected="true or false")

    def number(self, variable: str, default: int, *, least: int, most: int) -> int:
        given = self.text(variable, str(default))
        if not NUMBER.fullmatch(given) or not least <= int(given) <= most:
            self.wrong(variable, f"has to be a whole number from {least} to {most}; it is {quoted(given)}.")
            return default
        return int(given)

    def seconds(self, variable: str, default: float, *, most: timedelta) -> float:
        expected = f"a number of seconds above 0, at most {most.total_seconds():.0f}"
        value = self.read(self.env.float, variable, default, expected=expected)
        if not 0 < value <= most.total_seconds():
            self.wrong(variable, f"has to be {expected}.")
            return default
        return value

    def choice(self, variable: str, default: str, among: tuple[str, ...]) -> str:
        value = self.text(variable, default)
        if value not in among:
            self.wrong(variable, f"has to be one of {', '.join(among)}.")
            return default
        return value

    def command(self, variable: str) -> list[str]:
        """A program and its arguments, as a shell would split them; no shell executes them."""
        try:
            return shlex.split(self.text(variable))
        except ValueError:
            self.wrong(variable, "has to be a program and its arguments, with every quote closed.")
            return []

    def names(self, variable: str, default: list[str]) -> list[str]:
        values: list[str] = self.read(self.env.list, variable, default, expected="a comma-separated list")
        return [value.strip() for value in values if value.strip()]

    def ann_indexes(self, variable: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Set but empty means none."""
        if variable not in os.environ:
            return default
        names = tuple(dict.fromkeys(name.lower() for name in self.names(variable, [])))
        if not set(names) <= set(KNOWN_ANN_INDEXES):
            self.wrong(variable, f"may name {' and '.join(KNOWN_ANN_INDEXES)}, separated by a comma, or be empty.")
            return default
        return names

    def folder(self, variable: str, default: Path) -> Path:
        """An absolute path; ``~`` is the user's own folder. Whether it is there is asked when it is used."""
        value = self.text(variable)
        try:
            return Path(value).expanduser().absolute() if value else default
        except RuntimeError:
            self.wrong(variable, "begins with ~ and the name of nobody on this machine.")
            return default

    def demand(self, variable: str, purpose: str) -> None:
        if not os.environ.get(variable, "").strip():
            self.wrong(variable, f"is not set: with MEMOPS_MODE=deployment {purpose}.")

    def key(self, variable: str) -> bytes | None:
        """32 random bytes in base64, with either alphabet; None where the variable is unset."""
        value = self.text(variable)
        if not value:
            return None
        key = decoded_key(value)
        if key is None:
            self.wrong(
                variable, f"has to be {KEY_BYTES} random bytes in base64, as `openssl rand -base64 32` prints them."
            )
        return key

    def bind(self, variable: str, default: str) -> tuple[str, str]:
        """Where the console listens: the variable as it is, and the host in it."""
        value = self.text(variable, default)
        try:
            parts = urlsplit(f"//{value}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or not port or parts.netloc != value:
            self.wrong(variable, "has to be an address and a port, such as 127.0.0.1:8000 or [::1]:8000.")
            return default, urlsplit(f"//{default}").hostname or ""
        return value, host

    def approvals(self, variable: str, *, targets: list[str]) -> list[dict[str, Any]]:
        """TARGET/KIND=NUMBER:GROUP+GROUP@HOURS, with a comma between; * is any. Groups and hours may be left out."""
        rules = []
        for text in self.names(variable, []):
            found = APPROVAL_RULE.fullmatch(text)
            if found is None:
                self.wrong(
                    variable,
                    "has to be rules such as production/rollback=2 or */undo=1:approver+dba@8, with a comma between.",
                )
                return []
            target, kind, needed, groups, hours = found.groups()
            if target not in ("*", *targets):
                # A rule that fits nothing would let the default hold where somebody thinks that theirs does.
                self.wrong(variable, f"has a rule for a target that is none: known are {', '.join(targets)}, and *.")
            rules.append(
                {
                    "target": target,
                    "kind": kind,
                    "needed": int(needed),
                    "groups": groups.split("+") if groups else None,
                    "hours": float(hours) if hours else None,
                }
            )
        return rules

    def web_address(self, variable: str) -> str:
        """An address to send to, or "". It may hold a secret, so no message repeats it."""
        value = self.text(variable)
        try:
            parts = urlsplit(value)
            usable = bool(parts.hostname) and (parts.scheme == "https" or _is_own_machine(parts))
            usable = usable and value.isascii() and value.isprintable() and " " not in value and parts.port != 0
        except ValueError:
            usable = False
        if value and not usable:
            self.wrong(variable, "has to be an https:// address; http:// is for this machine alone.")
            return ""
        return value

    def database(self, variable: str, url: str) -> dict[str, Any] | None:
        """A PostgreSQL URL as an entry of Django's DATABASES; ``?host=/socket/folder`` becomes HOST."""
        problem = "cannot be parsed: a password with special characters has to be percent-encoded."
        try:
            if urlsplit(url).scheme not in ("postgres", "postgresql"):
                self.wrong(variable, "is not a PostgreSQL URL: it has to start with postgresql://.")
                return None
            entry: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
        except (ValueError, dj_database_url.ParseError):
            self.wrong(variable, problem)
            return None
        if not entry.get("NAME"):
            self.wrong(variable, "names no database: it has to end with /database.")
            return None
        options = entry.setdefault("OPTIONS", {})
        for setting in ("host", "port", "user", "password"):
            if setting in options:
                entry[setting.upper()] = str(options.pop(setting))
        for setting, value in CONNECTION.items():
            options.setdefault(setting, value)
        options.setdefault("application_name", "memops")
        try:
            make_conninfo(**options)
        except ProgrammingError:
            self.wrong(variable, "has an option after its ? that PostgreSQL does not know.")
            return None
        if not all(is_text(str(part)) for part in (*entry.values(), *options.values())):
            self.wrong(variable, problem)
            return None
        return {**entry, "ENGINE": "django.db.backends.postgresql"}

    def targets(self, default_url: str) -> dict[str, dict[str, Any]]:
        """Every alias that is configured, ``default`` first."""
        given: list[tuple[str, str, str]] = [("DATABASE_URL", "default", default_url)]
        for alias in ("staging", "production"):
            variable = f"{alias.upper()}_DATABASE_URL"
            if self.text(variable):
                given.append((variable, alias, self.text(variable)))
        variable = "MEMOPS_TARGETS"
        for number, entry in enumerate(filter(None, map(str.strip, self.text(variable).split(","))), start=1):
            alias, equals, url = (part.strip() for part in entry.partition("="))
            if not equals or not ALIAS.fullmatch(alias):
                # The entry itself stays unsaid: without its "=" it may be a URL with a password.
                self.wrong(variable, f"entry {number} has to be alias=url, the alias of a-z, 0-9 and _.")
            else:
                given.append((variable, alias, url))
        databases: dict[str, dict[str, Any]] = {}
        origin: dict[str, str] = {}
        for variable, alias, url in given:
            if alias in origin:
                self.wrong(variable, f'names the target "{alias}", which comes from {origin[alias]} already.')
                continue
            origin[alias] = variable
            database = self.database(
                variable if variable != "MEMOPS_TARGETS" else f'{variable} (target "{alias}")', url
            )
            if database:
                databases[alias] = database
        return databases

    def libpq_variables(self, databases: dict[str, dict[str, Any]], *, embedded: bool) -> None:
        """Every session goes where its URL says. What a URL leaves out, some variables would say, but not to pg_dump,
        which is started without them: it could read another database than the one that was looked at."""
        for variable, option in LIBPQ.items():
            led_astray = [
                name
                for name, database in databases.items()
                if variable in os.environ
                and database
                and option not in _said_of(database)
                and not (embedded and name == "default" and FOR_THE_NETWORK.fullmatch(variable))
            ]
            if led_astray:
                self.wrong(
                    variable,
                    f"is set, and would change how memops connects to {', '.join(led_astray)}: unset it"
                    + (f", or put {option}= into the URL." if option else "."),
                )


def _said_of(database: dict[str, Any]) -> set[str]:
    """The options of libpq that an entry of DATABASES gives."""
    named = {"NAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    return {option for key, option in named.items() if database.get(key)} | set(database["OPTIONS"])


def _is_own_machine(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")


def decoded_key(text: str) -> bytes | None:
    """The key that a base64 text stands for; None if it is not one of 32 bytes."""
    standard = text.strip().translate(str.maketrans("-_", "+/"))
    try:
        key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def kept_secret(file: Path, make: Callable[[], str]) -> str:
    """The secret in a file, made on first use with mode 0600; of processes that start at once, all get the same one."""
    try:
        return file.read_text(errors="replace").strip()
    except FileNotFoundError:
        pass
    make_folder(file.parent)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}-") as fresh:
        os.fchmod(fresh.fileno(), 0o600)
        fresh.write(make() + "\n")
        fresh.flush()
        os.fsync(fresh.fileno())
        with suppress(FileExistsError):
            os.link(fresh.name, file)
    return file.read_text(errors="replace").strip()


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
