"""Pauses in a web server, before and after each thing that a confirmed form does, where a test wants to kill it."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.apps import AppConfig

LONGEST_SECONDS = 120

BEFORE_IT_IS_STORED = ("form read", "run stored", "steps stored", "bell rung", "event written")
AFTER = ("committed",)
RENDERING = "rendering"


class WebPausesConfig(AppConfig):
    name = "tests.faults.web_pauses"
    label = "web_pauses"
    path = str(Path(__file__).parent)

    def ready(self) -> None:
        from memops.console.admin import confirm
        from memops.console.admin import run as run_pages
        from memops.console.models import Step
        from memops.console.runs import request

        confirm.submit = paused(confirm.submit, before="form read", after="committed")
        Step.objects.bulk_create = paused(Step.objects.bulk_create, before="run stored", after="steps stored")
        request.queue.ring = paused(request.queue.ring, after="bell rung")
        request.record = paused(request.record, after="event written")
        run_pages.live = paused(run_pages.live, after=RENDERING)


def paused(work: Callable[..., Any], *, before: str = "", after: str = "") -> Callable[..., Any]:
    def carried_out(*arguments: Any, **options: Any) -> Any:
        wait(before)
        done = work(*arguments, **options)
        wait(after)
        return done

    return carried_out


def wait(here: str) -> None:
    pause_at = Path(os.environ["PAUSE_AT"])
    if here and pause_at.exists() and pause_at.read_text() == here:
        with Path(os.environ["SAYS"]).open("a") as file:
            file.write(f"{here}\n")
        time.sleep(LONGEST_SECONDS)
