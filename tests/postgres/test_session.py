"""memops' own sessions on a target: unfiltered, free of other people's settings, and silent about secrets."""

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest
from django.db import connections
from psycopg import sql

from memops.console.errors import TargetUnreachable, TemporaryFolderUnusable, UnknownTarget
from memops.console.pg import clients, session
from project import embedded
from tests.databases import alias_of
from tests.limits import largest_file
from tests.postgres.conftest import PASSWORD, until

SHOWN = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")


@pytest.fixture
def guarded(guarded_server: Path) -> dict[str, object]:
    """Settings of an alias for a server that asks for a password."""
    return {
        "HOST": str(embedded.socket_dir(guarded_server)),
        "NAME": embedded.DATABASE,
        "USER": embedded.OWNER_ROLE,
        "PASSWORD": PASSWORD,
    }


def problem_of(alias: str) -> str:
    with pytest.raises(TargetUnreachable) as refused, session.connect(alias):
        pass
    return str(refused.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"NAME": "hidden_name"}, "the database does not exist"),
        ({"NAME": "hidden_name of a role, timeout"}, "the database does not exist"),
        ({"USER": "hidden_name"}, "the role does not exist"),
        ({"USER": "hidden_name ssl"}, "the role does not exist"),
        ({"HOST": "/hidden_name"}, "nothing listens at its socket"),
        ({"HOST": "127.0.0.1", "PORT": "1", "NAME": "hidden_name"}, "nothing listens at its address"),
        ({"NAME": embedded.SCRATCH_TEMPLATE, "USER": "postgres"}, "the database takes no connections"),
    ],
)
def test_what_is_wrong_is_told_without_names_and_addresses(target, changes, reason):
    with alias_of("wrong", **changes) as alias:
        told = problem_of(alias)

    assert f'The target "wrong" does not answer: {reason}.' in told
    assert "hidden_name" not in told


def test_a_wrong_password_is_told_and_not_quoted(target, guarded):
    with alias_of("wrong", **{**guarded, "PASSWORD": "another-s3cret"}) as alias:
        told = problem_of(alias)

    assert "the password is wrong" in told
    assert "s3cret" not in told


def test_a_missing_password_is_told(target, guarded):
    with alias_of("wrong", **{**guarded, "PASSWORD": ""}) as alias:
        assert "it asks for a password and none is configured" in problem_of(alias)


def test_the_cause_that_libpq_quotes_addresses_in_is_not_chained(target):
    with (
        alias_of("wrong", NAME="hidden_name") as alias,
        pytest.raises(TargetUnreachable) as refused,
        session.connect(alias),
    ):
        pass

    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_role_that_may_not_log_in_is_told(target, new_role):
    with alias_of("wrong", USER=new_role("sleeper", "nologin")) as alias:
        assert "the role may not log in" in problem_of(alias)


def test_a_role_without_connections_left_is_told(target, new_role):
    with alias_of("wrong", USER=new_role("crowd", "login connection limit 0")) as alias:
        assert "it has no connection left" in problem_of(alias)


def test_an_unknown_alias_is_told_with_those_that_there_are(target):
    with pytest.raises(UnknownTarget, match=r'no target "nowhere".*target'), session.connect("nowhere"):
        pass


@pytest.mark.parametrize("form", ["HOST", "OPTIONS"])
def test_the_servers_address_may_stand_in_host_or_in_options(target, settings, form):
    folder = str(embedded.socket_dir(settings.MEMOPS_HOME))
    places = {"HOST": {"HOST": folder, "OPTIONS": {}}, "OPTIONS": {"HOST": "", "OPTIONS": {"host": folder}}}
    with alias_of("placed", NAME=connections[target].settings_dict["NAME"], **places[form]) as alias:
        assert session.libpq_params(alias)["host"] == folder
        with session.connect(alias) as connection, session.child_environment(session.libpq_params(alias)) as child:
            assert connection.execute("select current_user").fetchone() == (embedded.OWNER_ROLE,)
            assert child["PGHOST"] == folder


def test_a_read_that_row_security_would_filter_is_an_error(app_role):
    with session.connect(app_role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select count(*) from public.memory_chunks")


def test_settings_of_role_and_database_do_not_reach_memops(target, dba, new_role):
    role = new_role("hampered")
    for setting in (
        "statement_timeout = '500ms'", "lock_timeout = '500ms'", "idle_in_transaction_session_timeout = '500ms'",
        "idle_session_timeout = '500ms'", "search_path = evil", "datestyle = 'German'", "intervalstyle = sql_standard",
        "extra_float_digits = -10", "bytea_output = escape", "timezone = 'Asia/Tokyo'", "client_encoding = LATIN1",
        "default_transaction_read_only = on", "default_transaction_isolation = serializable",
    ):  # fmt: skip
        dba.execute(sql.SQL("alter role {} set " + setting).format(sql.Identifier(role)))
    with alias_of("hampered", USER=role) as alias, session.connect(alias) as connection:

        def show(name: str) -> str:
            return connection.execute(sql.SQL("show {}").format(sql.Identifier(name))).fetchone()[0]

        assert [show(name) for name in SHOWN] == ["0"] * 4
        assert show("row_security") == "off"
        assert show("search_path") == "pg_catalog"
        assert (show("timezone"), show("client_encoding"), show("datestyle")) == ("UTC", "UTF8", "ISO, MDY")
        assert (show("transaction_read_only"), show("transaction_isolation")) == ("off", "read committed")
        assert connection.execute(
            "select array[0.1::float8, 1/3::float8]::text, '\\x00ff'::bytea::text, interval '1 day 2:00'::text"
        ).fetchone() == ("{0.1,0.3333333333333333}", "\\x00ff", "1 day 02:00:00")


def test_a_session_ends_with_its_block(target, owner):
    with session.connect(target) as connection:
        pid = connection.info.backend_pid

    until(lambda: not owner.execute("select from pg_stat_activity where pid = %s", [pid]).fetchall())


def test_a_direct_connection_is_not_taken_for_a_pooler(target):
    assert session.is_pooled(target) is False


def test_what_a_child_is_told_holds_nothing_that_was_inherited(target, monkeypatch):
    params = session.libpq_params(target)
    with monkeypatch.context() as process:
        for name in ("PGHOST", "PGOPTIONS", "PGPASSWORD", "PGSERVICE", "PGDATABASE", "PGSSLMODE", "PGHOSTADDR"):
            process.setenv(name, "inherited")
        process.setenv("SOME_TOKEN", "inherited")
        with session.child_environment(params) as environment:
            pass

        assert "inherited" not in environment.values()
        assert environment["PGDATABASE"] == connections[target].settings_dict["NAME"]
        assert environment["PGUSER"] == embedded.OWNER_ROLE


def test_what_protects_a_connection_is_handed_on_to_children():
    params = {"sslmode": "verify-full", "sslrootcert": "/ca.pem", "require_auth": "scram-sha-256",
              "ssl_min_protocol_version": "TLSv1.3", "requirepeer": "postgres", "sslcrldir": "/crl"}  # fmt: skip

    with session.child_environment(params) as environment:
        assert {
            name: environment[name]
            for name in (
                "PGSSLMODE", "PGSSLROOTCERT", "PGREQUIREAUTH", "PGSSLMINPROTOCOLVERSION", "PGREQUIREPEER", "PGSSLCRLDIR"
            )
        } == {
            "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/ca.pem", "PGREQUIREAUTH": "scram-sha-256",
            "PGSSLMINPROTOCOLVERSION": "TLSv1.3", "PGREQUIREPEER": "postgres", "PGSSLCRLDIR": "/crl",
        }  # fmt: skip


def test_the_password_is_in_a_file_for_us_alone_that_works_and_is_gone_afterwards(target, guarded):
    with alias_of("guarded", **guarded) as alias:
        params = session.libpq_params(alias)
        psql = clients.find("psql", server_version=180000).path
        with session.child_environment(params) as environment:
            passfile = Path(environment["PGPASSFILE"])
            mode = stat.S_IMODE(passfile.stat().st_mode), stat.S_IMODE(passfile.parent.stat().st_mode)
            said = subprocess.run(
                [psql, "--no-password", "-Atc", "select current_user"], env=environment, capture_output=True, text=True
            )

    assert mode == (0o600, 0o700)
    assert (said.stdout.strip(), said.stderr) == (embedded.OWNER_ROLE, "")
    assert not any("s3cret" in value for value in environment.values())
    assert not passfile.parent.exists()


def test_the_password_file_is_gone_after_an_error_too():
    with pytest.raises(RuntimeError), session.child_environment({"password": "s3cret"}) as environment:
        raise RuntimeError

    assert not os.path.lexists(environment["PGPASSFILE"])


def test_a_password_that_cannot_be_put_into_a_file_is_told_and_not_quoted(monkeypatch, tmp_path):
    with (
        largest_file(5),
        pytest.raises(TemporaryFolderUnusable, match="File too large"),
        session.child_environment({"password": "s3cret"}),
    ):
        pass
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with (
        pytest.raises(TemporaryFolderUnusable, match=r"gone: No such file or directory.*set TMPDIR") as raised,
        session.child_environment({"password": "s3cret"}),
    ):
        pass

    assert "s3cret" not in str(raised.value)
    with session.child_environment({"user": "somebody"}):  # Where there is no password, there is no need of a file.
        pass


def test_without_a_password_the_users_own_password_file_is_not_used():
    with session.child_environment({"user": "somebody"}) as environment:
        assert environment["PGPASSFILE"] != str(Path.home() / ".pgpass")
        assert not os.path.lexists(environment["PGPASSFILE"])


@pytest.mark.parametrize(
    ("host", "local"),
    [("/tmp", True), ("", True), ("localhost", True), ("127.0.0.1", True), ("db.example", False), ("10.0.0.5", False)],
)
def test_a_server_is_local_if_its_address_says_so(host, local):
    assert session.is_local({"host": host}) is local
