"""The embedded server: complete after one start, the same for everybody, gone when nobody uses it any more."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from project import embedded

CLONE = Path(__file__).resolve().parent.parent.parent

HOLD = """
import sys, time
from pathlib import Path
from project import embedded
home = Path(sys.argv[1])
embedded.start(home)
print(embedded.url(home), flush=True)
sys.stdin.read()
"""

HOLD_TWICE = """
import sys
from pathlib import Path
from project import embedded
for _ in range(2):
    embedded.start(Path(sys.argv[1]))
    print("runs", flush=True)
    sys.stdin.readline()
"""

ROLES = """
select rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication
from pg_roles where rolname like 'memops%' order by rolname
"""
DATABASES = """
select datname, pg_get_userbyid(datdba), datistemplate, datallowconn
from pg_database where datname like 'memops%' order by datname
"""


def hold(home):
    """A process that uses the server until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], cwd=CLONE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def answers(home):
    with suppress(psycopg.OperationalError), psycopg.connect(embedded.url(home)):
        return True
    return False


def ask(url, query):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def home(tmp_path):
    """A home of the test's own, whose server ends with it."""
    yield tmp_path / "home"
    embedded.stop(tmp_path / "home")


@pytest.fixture
def held(home):
    """A home whose server runs."""
    with hold(home) as process:
        assert process.stdout.readline().strip() == embedded.url(home)
        yield home
        process.stdin.close()
        process.wait(30)


def test_roles_are_what_the_design_says(held):
    assert ask(embedded.url(held), ROLES) == [
        ("memops_app", True, False, False, False, False, False),
        ("memops_owner", True, False, True, True, False, False),
    ]
    assert ask(
        embedded.url(held),
        "select pg_has_role('pg_monitor', 'usage'), has_parameter_privilege('deadlock_timeout', 'set'),"
        " pg_has_role('pg_signal_backend', 'usage')",
    ) == [(True, True, True)]
    assert ask(
        embedded.url(held, role="memops_app"),
        "select pg_has_role('pg_monitor', 'member'), has_schema_privilege('public', 'create'),"
        " pg_has_role('memops_owner', 'member')",
    ) == [(False, False, False)]


def test_databases_are_what_the_design_says(held):
    assert ask(embedded.url(held), DATABASES) == [
        ("memops", "memops_owner", False, True),
        ("memops_scratch", "memops_owner", True, False),
    ]
    assert ask(embedded.url(held), "select extname from pg_extension where extnamespace = 'public'::regnamespace") == [
        ("vector",)
    ]


def test_the_owner_makes_scratch_databases_that_have_vector(held):
    ask_nothing = "create database scratch_1 template memops_scratch"
    with psycopg.connect(embedded.url(held), autocommit=True) as owner:
        owner.execute(ask_nothing)

    assert ask(embedded.url(held, database="scratch_1"), "select '[1,2]'::vector::text") == [("[1,2]",)]


def test_the_server_has_the_settings_that_the_console_needs(held):
    names = "max_connections', 'max_prepared_transactions', 'listen_addresses', 'TimeZone', 'server_encoding"
    found = dict(ask(embedded.url(held), f"select name, setting from pg_settings where name in ('{names}')"))

    assert found == {
        "max_connections": "200",
        "max_prepared_transactions": "8",
        "listen_addresses": "",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }


def test_its_data_is_closed_to_other_users(held):
    assert embedded.pgdata(held).stat().st_mode & 0o077 == 0
    assert held.stat().st_mode & 0o066 == 0


def test_a_second_start_keeps_what_is_there(home):
    for expected in ([], [("kept",)]):
        with hold(home) as process:
            process.stdout.readline()
            with psycopg.connect(embedded.url(home), autocommit=True) as owner:
                found = owner.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
                owner.execute("create table if not exists public.kept ()")
            process.stdin.close()
        assert found == expected


def test_a_bootstrap_that_was_interrupted_is_completed(held):
    with psycopg.connect(embedded.superuser_url(held), autocommit=True) as superuser:
        superuser.execute("alter role memops_owner superuser")
        superuser.execute("alter database memops_scratch with is_template false allow_connections true")
        superuser.execute("drop database memops_scratch")
        superuser.execute("drop role memops_app")

    with hold(held) as second:
        second.stdout.readline()

        assert ask(embedded.url(held), DATABASES)[1] == ("memops_scratch", "memops_owner", True, False)
        assert [role[:3] for role in ask(embedded.url(held), ROLES)] == [
            ("memops_app", True, False),
            ("memops_owner", True, False),
        ]
        second.stdin.close()


def test_processes_that_start_at_once_share_one_server(home):
    processes = [hold(home) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline().strip() == embedded.url(home)
    assert ask(embedded.superuser_url(home), "select count(*) from pg_database where datname like 'memops%'") == [(2,)]

    for process in processes[:-1]:
        process.stdin.close()
        assert process.wait(30) == 0
    assert answers(home)
    processes[-1].stdin.close()
    assert processes[-1].wait(30) == 0
    assert not answers(home)
    for process in processes:
        process.stdout.close()


def test_a_killed_process_holds_nothing(home):
    with hold(home) as first, hold(home) as second:
        first.stdout.readline()
        second.stdout.readline()
        first.send_signal(signal.SIGKILL)
        first.wait()
        second.stdin.close()
        assert second.wait(30) == 0

    assert not answers(home)


def test_a_crashed_server_is_started_again(held):
    pid = int((embedded.pgdata(held) / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while answers(held) and time.monotonic() < deadline:
        time.sleep(0.05)

    with hold(held) as second:
        second.stdout.readline()

        assert answers(held)
        second.stdin.close()


@pytest.mark.parametrize("lost", ["server", "server and folder"])
def test_one_that_died_is_started_again_by_the_process_that_had_started_it(home, lost):
    arguments = [sys.executable, "-c", HOLD_TWICE, str(home)]
    with subprocess.Popen(arguments, cwd=CLONE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "runs\n"
        os.kill(int((embedded.pgdata(home) / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while answers(home) and time.monotonic() < deadline:
            time.sleep(0.05)
        if lost == "server and folder":
            shutil.rmtree(home)

        process.stdin.write("again\n")
        process.stdin.flush()

        assert process.stdout.readline() == "runs\n"
        assert answers(home)
        process.stdin.close()
    assert not answers(home)


def test_a_home_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(embedded.EmbeddedFailed, match=r"cannot be started\. Not a directory: .*/file"):
        embedded.start(tmp_path / "file" / "home")


def test_an_initdb_that_was_interrupted_is_done_again(home):
    (home / "pgdata.new").mkdir(parents=True)
    (home / "pgdata.new" / "PG_VERSION").write_text("18\n")

    with hold(home) as process:
        process.stdout.readline()

        assert answers(home)
        process.stdin.close()


def test_stop_ends_it_for_everybody(held):
    embedded.stop(held)

    assert not answers(held)


def test_stopping_where_nothing_runs_is_no_error(tmp_path):
    embedded.stop(tmp_path / "never started")

    assert not (tmp_path / "never started").exists()


@pytest.mark.parametrize("name", ["long " * 20, 'it\'s a $mall, "quoted" ünïcode folder'])
def test_any_path_will_do(tmp_path, name):
    home = tmp_path / name.strip()
    with hold(home) as process:
        assert process.stdout.readline().strip() == embedded.url(home)
        sockets = embedded.socket_dir(home)

        assert answers(home)
        assert sockets.stat().st_mode & 0o077 == 0
        process.stdin.close()
        process.wait(30)

    assert (home / "pgdata").exists()
    assert sockets == home / "pgdata" or not sockets.exists()


def test_somebody_elses_folder_in_tmp_is_not_used(tmp_path):
    home = tmp_path / ("long " * 20).strip()
    sockets = embedded.socket_dir(home)
    sockets.mkdir(mode=0o777)
    sockets.chmod(0o777)
    try:
        with hold(home) as process:
            assert process.wait(30) == 1
    finally:
        sockets.rmdir()


def test_programs_of_the_servers_version_are_there():
    folder = embedded.bin_dir(embedded.MAJOR)

    for program in ("pg_dump", "pg_restore", "psql"):
        assert os.access(folder / program, os.X_OK)
    assert embedded.bin_dir(9) is None


@pytest.mark.usefixtures("embedded_server")
def test_the_tests_have_a_server_of_their_own():
    assert settings.MEMOPS_HOME == CLONE / ".memops" / "test"
    assert answers(settings.MEMOPS_HOME)
