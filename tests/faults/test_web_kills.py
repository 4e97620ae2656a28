"""The web process is killed while it stores a run, while it shows one, while pages poll: what was asked for is there as
a whole, or not at all, and the same form makes one run."""

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from django.urls import reverse
from django_q.models import OrmQ

from memops.console.models import AuditEvent, Run
from memops.console.runs import queue
from memops.console.runs.advance import advance
from memops.console.runs.request import cancel
from tests.faults import ground, processes, web_pauses
from tests.faults.browserless import GONE, Form, Operator
from tests.faults.processes import Web

RANDOM_KILLS = 20
MAIN_PROCESS_AT = (6, 13)
SEED = os.environ.get("RANDOM_SEED", "memops")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def sign_in(web: Web) -> Operator:
    operator = Operator(address=web.address)
    operator.sign_in_as_superuser("rita")
    return operator


def open_form(operator: Operator) -> Form:
    return operator.form(reverse("admin:memops_console_target_rollback_confirm", args=["default"]) + "?mode=emergency")


def send(operator: Operator, form: Form) -> tuple[str, str]:
    return operator.send(form, typed_name="default", reason="incident 7")


def assert_whole() -> list[Run]:
    """Every run that was asked for on a page has all that belongs to it, and there is no more; gives what waits."""
    asked = Run.objects.filter(origin="console")
    for run in asked:
        plan = run.planned()
        assert plan.digest == run.digest
        assert [*run.steps.values_list("name", flat=True)] == [step.name for step in plan.steps]
        assert AuditEvent.objects.filter(run=run.pk, action="run.requested").count() == 1
    waiting = [run for run in asked if run.state == "queued"]
    assert sorted(queue.run_of(entry) or 0 for entry in OrmQ.objects.all()) == sorted(run.pk for run in waiting)
    return waiting


def sent_again(operator: Operator, web: Web, form: Form) -> Run:
    """What whoever does not know what became of a form does, twice."""
    ground.until(web.answers, "the web server is back")
    first, _ = send(operator, form)
    second, page = send(operator, form)
    [run] = assert_whole()
    assert first == second == run.get_absolute_url()
    assert "No second run was started" in page
    return run


def take_back(run: Run) -> None:
    cancel(run, requester=ground.ME)
    OrmQ.objects.all().delete()


def test_a_run_that_is_asked_for_is_stored_as_a_whole_or_not_at_all(console, fault, tmp_path, pool):
    with console() as before, processes.web(tmp_path) as web:
        operator = sign_in(web)
        for place in (*web_pauses.BEFORE_IT_IS_STORED, *web_pauses.AFTER):
            with fault("kill -9 of the web process while it stores a run"):
                form = open_form(operator)
                web.pause_at(place)
                sent = pool.submit(send, operator, form)
                ground.until(lambda place=place: web.has_said(place), f"it is at: {place}")

                web.server.kill()

                with pytest.raises(GONE):
                    sent.result()
                web.pause_at("")
                assert len(assert_whole()) == (place in web_pauses.AFTER), place
                run = sent_again(operator, web, form)
                take_back(run)

        with fault("kill -9 of the web process while it shows a run"):
            web.pause_at(web_pauses.RENDERING)
            shown = pool.submit(operator.get, run.get_absolute_url())
            ground.until(lambda: web.has_said(web_pauses.RENDERING), "it shows the run")

            web.server.kill()

            with pytest.raises(GONE):
                shown.result()
            web.pause_at("")
            ground.until(web.answers, "the web server is back")
            assert "Cancelled" in operator.get(run.get_absolute_url())[1]
            # The trail is told first: it may have more requests than there are runs.
            assert "run.requested" in operator.get(reverse("admin:memops_console_auditevent_changelist"))[1]
        assert ground.look() == before


def test_a_web_process_that_is_killed_at_any_moment_has_asked_for_one_run_at_most(console, fault, tmp_path, pool):
    chance = random.Random(f"{SEED} web")
    with console() as before:
        with processes.web(tmp_path) as web:
            operator = sign_in(web)
            began = time.monotonic()
            send(operator, open_form(operator))
            takes_seconds = time.monotonic() - began
            [run] = assert_whole()
            with pages_that_poll(operator, run):
                for number in range(RANDOM_KILLS):
                    victim = "main" if number in MAIN_PROCESS_AT else "server"
                    with fault(f"random moment: kill -9 of the web server's {victim} process"):
                        take_back(run)
                        form = open_form(operator)
                        sent = pool.submit(send, operator, form)
                        time.sleep(chance.uniform(0, takes_seconds))

                        getattr(web, victim).kill()

                        with suppress(*GONE):
                            sent.result()
                        assert len(assert_whole()) <= 1
                        run = sent_again(operator, web, form)
            said = "The web server has ended (killed by SIGKILL). It is started again"
            assert web.log.count(said) == len(MAIN_PROCESS_AT)
        advance(run.pk)
        run.refresh_from_db()
        ground.assert_consistent(run, before)
        ground.assert_the_way_back(before)


@contextmanager
def pages_that_poll(operator: Operator, run: Run) -> Iterator[None]:
    """Two open pages, which go on asking whatever they hear."""
    over = threading.Event()

    def poll() -> None:
        while not over.wait(0.1):
            with suppress(*GONE):
                operator.get(f"{reverse('admin:memops_console_run_live', args=[run.pk])}")

    threads = [threading.Thread(target=poll) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
