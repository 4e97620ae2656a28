"""A target's roles, policies, indexes, programs and transactions are named by others. Whatever the name, memops works,
says it on one line in characters that show, and takes no part of it for an instruction."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connections
from psycopg import sql

from memops.console.models import Run
from memops.console.models.plans import Plan
from memops.console.pg.standing import Choice
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_restore, plan_rollback, plan_undo
from project import embedded
from tests import holders
from tests.faults import browserless, ground, processes
from tests.faults.hostile import unseen_in

NAMES = {
    "two lines": "evil\nRefused: two",
    "a terminal escape": "evil\x1b[2J\x1b[31m",
    "a direction override": "evil\u202enimda",
    "zero width": "memops\u200b_owner",
    "HTML": "<script>alert(1)</script>",
    "SQL": "'; drop table public.memory_chunks; --",
    "quotes": "a\"b'c\\d",
    "format": "{0.__class__} %s %(name)s [red]x[/red]",
    "dashes": "--clean",
    "a pattern": "*.*",
    "two columns": "id, user_hash",
}
"""At most 63 bytes each: the server cuts off what is longer."""


@contextmanager
def superuser() -> Iterator[psycopg.Connection]:
    name = connections["default"].settings_dict["NAME"]
    with psycopg.connect(embedded.superuser_url(django_settings.MEMOPS_HOME, name), autocommit=True) as connection:
        yield connection


@contextmanager
def roles(dba: psycopg.Connection) -> Iterator[None]:
    with ExitStack() as made:
        for name in map(sql.Identifier, NAMES.values()):
            dba.execute(sql.SQL("create role {} login").format(name))
            made.callback(dba.execute, sql.SQL("drop owned by {0}; drop role {0}").format(name))
            dba.execute(sql.SQL("grant select on public.memory_chunks to {}").format(name))
        yield


def everything_named(dba: psycopg.Connection, name: str) -> None:
    """Everything about the table that can have a name has this one, too."""
    for statement in (
        "create policy {name} on public.memory_chunks as restrictive for select to {name} using (true)",
        "create index {name} on public.memory_chunks (char_start)",
        "alter table public.memory_chunks add constraint {name} check (chunk_index >= -1000)",
        "alter table public.memory_chunks add column {name} text",
        "comment on table public.memory_chunks is {text}",
    ):
        dba.execute(sql.SQL(statement).format(name=sql.Identifier(name), text=sql.Literal(name)))


def said_by(*arguments: str, code: int = 0) -> str:
    """What a verb says on a terminal; with ``--json`` it is one object."""
    done = processes.memops(*arguments)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert unseen_in(said) == [], arguments
    assert not [line for line in said.splitlines() if line.strip().startswith("Refused: two")], arguments
    json.loads(processes.memops(*arguments, "--json").stdout)
    return said


def assert_shown_well(page: str, *arguments: object) -> None:
    shown = browserless.shown_on(f"memops_console_{page}", *arguments)
    assert unseen_in(shown) == [], page
    assert "<script>alert" not in shown, page


def assert_told_well(run: Run) -> None:
    said_by("run", str(run.pk), code=0 if run.state == "done" else 3)
    said_by("runs")
    said_by("status")
    assert_shown_well("run_change", run.pk)
    assert_shown_well("run_live", run.pk)
    assert_shown_well("target_change", "default")


def test_a_table_with_everything_named_so_is_backed_up_proved_moved_restored_and_brought_back(console, fault):
    with console(), fault("hostile name: of whatever belongs to the table"), superuser() as dba, roles(dba):
        for name in NAMES.values():
            everything_named(dba, name)
        before = ground.look()
        said_by("plan", "rollback")

        run = ground.ask_for_rollback()
        advance(run.pk)

        run.refresh_from_db()
        assert (run.state, run.outcome) == ("done", "quarantined"), run.error
        assert_told_well(run)
        carried_out(plan_restore(run.backups.latest("pk")))
        assert ground.look() == before
        carried_out(plan_restore(run.backups.latest("pk"), rows=Choice.MERGE))
        assert ground.look() == before
        carried_out(plan_rollback("default", emergency=True))
        carried_out(plan_undo(run))
        assert ground.look() == before


def carried_out(plan: Plan) -> None:
    run = ground.submitted(plan)
    advance(run.pk)
    run.refresh_from_db()
    assert run.state == "done", run.error
    assert_told_well(run)


def test_who_is_in_the_way_is_told_however_it_is_named(console, fault, settings):
    settings.MEMOPS_LOCK_TIMEOUT, settings.MEMOPS_LOCK_BUDGET = timedelta(milliseconds=50), timedelta(seconds=1)
    with console(), fault("hostile name: of who is in the way"), superuser() as dba, roles(dba):
        before = ground.look()
        with ExitStack() as held:
            others = [
                held.enter_context(holders.idle("default", user=name, application_name=name.replace("\n", " ")))
                for name in NAMES.values()
            ]
            said_by("plan", "rollback", "--emergency")
            run = ground.ask_for_rollback(emergency=True)

            advance(run.pk)

            run.refresh_from_db()
            assert (run.state, run.outcome) == ("refused", "nothing")
            assert [other.pid for other in others if f"pid {other.pid} of " not in run.error] == []
            assert_told_well(run)
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


@pytest.mark.parametrize("names", [[*NAMES.values()][:5], [*NAMES.values()][5:]], ids=["some", "others"])
def test_a_prepared_transaction_is_told_however_it_is_named(console, fault, names):
    with console() as before, fault("hostile name: of a prepared transaction"), superuser() as dba:
        with ExitStack() as held:
            for name in map(sql.Literal, names):
                other = held.enter_context(holders.idle("default"))
                other.execute(sql.SQL("prepare transaction {}").format(name))
                held.callback(dba.execute, sql.SQL("rollback prepared {}").format(name))

            said = said_by("plan", "rollback", code=3)

            assert said.count("prepared transaction '") + said.count('prepared transaction "') == len(names)
            assert_shown_well("target_rollback", "default")
        assert ground.look() == before


def test_what_depends_on_the_table_is_told_however_it_is_named(console, fault):
    with console() as before, fault("hostile name: of a view on the table"), superuser() as dba:
        for name in NAMES.values():
            dba.execute(sql.SQL("create view public.{} as table public.memory_chunks").format(sql.Identifier(name)))

        said = said_by("plan", "rollback", code=3)

        assert "Nothing was changed" in said
        assert_shown_well("target_rollback", "default")
        assert ground.look() == before
