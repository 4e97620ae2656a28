"""A scratch database is there when it is needed and gone afterwards; where none can be had, the reason is told."""

import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from memops.console.errors import NoScratch, TargetUnreachable
from memops.console.pg import restore, scratch, session
from project import embedded
from tests.databases import alias_of
from tests.postgres.conftest import PASSWORD, until


@pytest.fixture
def server(settings, embedded_server):
    """The superuser, in autocommit, outside of all databases that matter."""
    with psycopg.connect(embedded.superuser_url(settings.MEMOPS_HOME), autocommit=True) as connection:
        yield connection


def exists(server: psycopg.Connection, name: str) -> bool:
    return server.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is not None


def with_password(home: Path) -> str:
    return embedded.url(home).replace("memops_owner@", f"memops_owner:{quote(PASSWORD)}@")


class TestDatabase:
    def test_is_fresh_has_vector_and_is_dropped(self, target, server):
        with scratch.database(scratch.place(target), alias=target) as params:
            with session.connect_to(params, name=target) as connection:
                assert connection.execute("select '[1,2]'::public.vector").fetchone() == ("[1,2]",)
                assert connection.execute("select to_regclass('public.memory_chunks')").fetchone() == (None,)
            assert exists(server, params["dbname"])

        assert not exists(server, params["dbname"])

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_is_dropped_after_an_error_though_somebody_is_connected(self, target, server, error):
        with pytest.raises(error), scratch.database(scratch.place(target), alias=target) as params:
            forgotten = psycopg.connect(**params)
            raise error

        assert not exists(server, params["dbname"])
        forgotten.close()

    def test_is_dropped_though_an_autovacuum_works_on_it(self, target, server):
        """Only a superuser may end an autovacuum by force."""
        working = "select 1 from pg_stat_activity where datname = %s and backend_type = 'autovacuum worker'"
        server.execute("alter system set autovacuum_naptime = 1")
        server.execute("select pg_reload_conf()")
        try:
            with scratch.database(scratch.place(target), alias=target) as params:
                with psycopg.connect(**params, autocommit=True) as restored:
                    restored.execute(
                        "create table public.restored with (autovacuum_vacuum_threshold = 0,"
                        " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100,"
                        " autovacuum_vacuum_cost_limit = 1)"
                        " as select n, repeat('x', 1000) from generate_series(1, 4000) n"
                    )
                    restored.execute("delete from public.restored where n > 3")
                until(lambda: server.execute(working, [params["dbname"]]).fetchone(), within_seconds=60)
        finally:
            server.execute("alter system reset autovacuum_naptime")
            server.execute("select pg_reload_conf()")

        assert not exists(server, params["dbname"])

    def test_of_two_proofs_at_once_are_two(self, target):
        place = scratch.place(target)
        with scratch.database(place, alias=target) as one, scratch.database(place, alias=target) as other:
            assert one["dbname"] != other["dbname"]

    def test_left_by_a_killed_worker_is_dropped_before_the_next_is_made(self, target, server):
        """Also where a session that has not noticed yet is connected to it; what only looks like one is left alone."""
        now = int(time.time())
        left = [f"memops_scratch_{now}_0000000a", f"memops_scratch_{now - 90_000}_0000000b"]
        others = ["memops_scratch_of_somebody", f"memops_scratch_{now}_0A0b", f"memops_scratch_{now}_0000000c_copy"]
        try:
            for name in left + others:
                server.execute(sql.SQL("create database {} owner memops_owner").format(sql.Identifier(name)))
            params = session.libpq_params(target) | {"dbname": left[0]}
            with psycopg.connect(**params), scratch.database(scratch.place(target), alias=target):
                assert [exists(server, name) for name in left] == [False, False]

            assert [exists(server, name) for name in others] == [True, True, True]
        finally:
            for name in left + others:
                server.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def test_that_somebody_uses_is_not_taken_for_one_that_was_left_behind(self, target, server):
        place = scratch.place(target)
        with scratch.database(place, alias=target) as params:
            assert params["dbname"] not in scratch.drop_left_behind(place, alias=target)
            assert exists(server, params["dbname"])


class TestNoPlace:
    def test_for_a_role_that_may_not_create_databases(self, app_role):
        with pytest.raises(NoScratch, match=r"memops_app may not create databases.*MEMOPS_SCRATCH_URL"):
            scratch.place(app_role)

    def test_on_a_server_without_the_template(self, target, monkeypatch):
        monkeypatch.setattr(scratch, "TEMPLATE", "memops_no_such_template")

        with pytest.raises(NoScratch, match="memops_no_such_template"):
            scratch.place(target)

    def test_on_a_scratch_server_that_does_not_answer(self, target, settings):
        settings.MEMOPS_SCRATCH_URL = "postgresql://somebody:hunter2@127.0.0.1:9/postgres"

        with pytest.raises(NoScratch, match="MEMOPS_SCRATCH_URL does not answer: nothing listens") as raised:
            scratch.place(target)

        assert "hunter2" not in str(raised.value)

    def test_where_a_target_does_not_answer(self, settings):
        with alias_of("gone", HOST="/nowhere", OPTIONS={}) as alias, pytest.raises(TargetUnreachable, match="gone"):
            scratch.place(alias)

    def test_with_roles_that_cannot_be_made_there(self, target, owner, backup, new_role, guarded_server, settings):
        role = new_role("only here")
        owner.execute(sql.SQL("grant select on public.memory_chunks to {}").format(sql.Identifier(role)))
        written = backup(target)
        settings.MEMOPS_SCRATCH_URL = with_password(guarded_server)

        with pytest.raises(NoScratch, match=f"may not make or use the roles .*{role}"):
            restore.verify(
                path=written.path,
                manifest=written.manifest,
                alias=target,
                scratch_place=scratch.place(target),
                progress=lambda done, total: None,
            )


def test_to_look_for_the_embedded_place_does_not_start_its_server(target, settings, tmp_path):
    settings.MEMOPS_SCRATCH_URL = "embedded"
    home = settings.MEMOPS_HOME
    settings.MEMOPS_HOME = tmp_path
    place = scratch.place(target)
    settings.MEMOPS_HOME = home

    assert str(place) == "a database on the embedded server"
    assert not (tmp_path / "scratch").exists()


def test_a_place_shows_no_password(target, settings, guarded_server):
    settings.MEMOPS_SCRATCH_URL = with_password(guarded_server)

    assert "s3cret" not in str(scratch.place(target))
