"""Connections of a run are cut, or fall silent, at the worst moments: what happened is read, and nothing is lost."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from memops.console.errors import Refused
from memops.console.models import Run
from tests.faults import ground
from tests.faults.line import COMMIT, DUMP, MOVES, RESTORE, RUN

MOMENTS = {
    "while the dump is written": (DUMP, "answer", "nothing"),
    "while the scratch restore is made": (RESTORE, "answer", "nothing"),
    "before the COMMIT": ((RUN, MOVES), "answer", "nothing"),
    "when the COMMIT passes": ((RUN, COMMIT), "question", "nothing"),
    "when its answer passes": ((RUN, COMMIT), "answer", "quarantined"),
}
"""What is said on the line then, whether the question or its answer is lost, and what has happened to the table."""

IMPATIENT = timedelta(seconds=2)


@pytest.mark.parametrize("moment", MOMENTS)
def test_connections_that_are_cut_leave_a_true_state(console, line, executor, fault, moment):
    """Those to the console's own records, too: they are in the same database."""
    says, at, outcome = MOMENTS[moment]
    with console() as before, fault(f"every connection cut {moment}"):
        # An emergency rollback comes to its COMMIT sooner.
        run = ground.ask_for_rollback(emergency=says[0] == RUN)
        line.when(*says, at=at, then=line.interrupt)

        executor.begin(str(run.pk), aliases={"default": line.address})

        executor.end()
        assert line.has_happened.is_set()
        ground.settle(run)
        assert run.outcome == outcome
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


@pytest.mark.parametrize("moment", ["while the dump is written", "while the scratch restore is made"])
def test_connections_on_which_nothing_arrives_any_more_are_given_up(far_console, line, executor, fault, moment):
    """TCP finds both ends alive, so no end of it would ever come. (Of the change: ``test_outcome.py``.)"""
    says, at, outcome = MOMENTS[moment]
    with far_console() as before, fault(f"every connection silent {moment}"):
        run = ground.ask_for_rollback(target="far")
        line.when(*says, at=at, then=line.stall)

        executor.begin(str(run.pk), aliases={"far": line.address}, patience=IMPATIENT)

        executor.end()
        assert line.has_happened.is_set()
        ground.settle(run)
        assert (run.state, run.outcome) == ("failed", outcome)
        assert "the server was silent" in run.error
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_a_run_whose_outcome_cannot_be_read_is_unknown_until_it_can(far_console, line, executor, fault, client):
    with far_console() as before, fault("the target out of reach when its answer passes"):
        run = ground.ask_for_rollback(emergency=True, target="far")
        line.when(RUN, COMMIT, at="answer", then=line.cut)

        executor.begin(str(run.pk), aliases={"far": line.address}, patience=IMPATIENT)

        assert executor.end() == "0"
        run.refresh_from_db()
        assert (run.state, run.outcome) == ("unknown", "")
        client.force_login(User.objects.create_superuser("root"))
        page = client.get(run.get_absolute_url()).content.decode()
        assert "<title>Unknown: " in page
        assert "whether the change happened could not be read from it" in page
        with pytest.raises(Refused):
            ground.ask_for_rollback(target="far")
        ground.settle(run)
        assert (run.state, run.outcome) == ("interrupted", "quarantined")
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


def test_the_command_line_says_unknown_and_reconcile_settles_it_when_the_target_is_back(
    far_console, line, memops, fault
):
    """Runbook R08: the connection is lost during the rollback, and somebody asks afterwards what happened."""
    with far_console() as before, fault("the target out of reach, on the command line"):
        line.when(RUN, COMMIT, at="answer", then=line.cut)

        lost = memops(
            *("rollback", "--emergency", "--target", "far", "--confirm", "far", "--reason", "R08"), address=line.address
        )

        run = Run.objects.get(kind="rollback")
        assert lost.returncode == 4, lost.stderr
        assert "To settle it, when the target answers: manage.py memops reconcile" in lost.stdout
        still = memops("reconcile", address=line.address)
        assert (still.returncode, "the target still does not say what happened" in still.stdout) == (4, True)
        line.mend()
        settled = memops("reconcile", address=line.address)
        assert settled.returncode == 0, settled.stderr
        run.refresh_from_db()
        assert (run.state, run.outcome) == ("interrupted", "quarantined")
        ground.assert_consistent(run, before)
        undone = memops("undo", str(run.pk), "--confirm", "far", "--reason", "R08 is over", address=line.address)
        assert undone.returncode == 0, undone.stderr
        assert ground.look() == before
