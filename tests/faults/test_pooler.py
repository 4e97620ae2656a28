"""A pooler in transaction mode is refused at every door, and its other clients notice nothing of it."""

import psycopg
import pytest
from django.db import connections

from memops.console.errors import PoolerBetween
from memops.console.pg import session
from memops.console.runs.overview import overview
from memops.console.runs.plan import plan_rollback
from project import embedded
from tests.faults import ground
from tests.faults.pooler import Pooler

REFUSAL = 'The target "far" is reached through a pooler in transaction mode'


@pytest.fixture
def pooler(embedded_server):
    pooler = Pooler(embedded.socket_dir(embedded_server) / embedded.SOCKET_NAME)
    yield pooler
    pooler.close()


@pytest.fixture
def session_pooler(embedded_server):
    """Its clients keep the server's process for as long as they are there."""
    pooler = Pooler(embedded.socket_dir(embedded_server) / embedded.SOCKET_NAME, by_session=True)
    yield pooler
    pooler.close()


def test_no_plan_is_made_through_it(far_console, pooler, fault):
    with far_console(), fault("a pooler in transaction mode"):
        connections.databases["far"].update(pooler.address)
        with pytest.raises(PoolerBetween, match=REFUSAL):
            plan_rollback("far")

        seen = overview("far")

        assert (seen.state, REFUSAL in seen.problem) == ("unreachable", True)
        assert seen.state_text == "It is reached through a pooler, so its state is not known."


def test_the_command_refuses_it(far_console, pooler, memops, fault):
    with far_console() as before, fault("a pooler in transaction mode"):
        for verb in (["plan", "rollback"], ["rollback", "--confirm", "far", "--reason", "x"]):
            refused = memops(*verb, "--target", "far", address=pooler.address)
            assert (refused.returncode, REFUSAL in refused.stderr) == (3, True)
        assert ground.look() == before


def test_a_run_that_was_planned_without_it_is_refused(far_console, pooler, executor, fault):
    with far_console() as before, fault("a pooler in transaction mode"):
        run = ground.ask_for_rollback(target="far")

        executor.begin(str(run.pk), aliases={"far": pooler.address})

        assert executor.end() == "0"
        run.refresh_from_db()
        assert (run.state, run.outcome) == ("refused", "nothing")
        assert REFUSAL in run.error
        pooler.close()  # It keeps sessions for those who come next.
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_look_at_it_leaves_no_setting_behind_for_the_next_client(far_console, pooler, fault):
    with far_console(), fault("a pooler in transaction mode"):
        connections.databases["far"].update(pooler.address)
        with pytest.raises(PoolerBetween), session.connect("far"):
            pass

        params = session.libpq_params("far")
        with psycopg.connect(**params, autocommit=True) as next_client:
            shown = [next_client.execute(f"show {name}").fetchone()[0] for name in ("search_path", "row_security")]

        assert pooler.idle
        assert shown == ['"$user", public', "on"]


def test_one_that_gives_a_process_to_a_client_for_as_long_as_it_is_there_is_none(far_console, session_pooler):
    """It gives out numbers of its own as well, but locks and settings hold."""
    with far_console():
        connections.databases["far"].update(session_pooler.address)

        assert plan_rollback("far").is_possible
        with session.connect("far") as connection:
            assert connection.execute("show search_path").fetchone() == ("pg_catalog",)
