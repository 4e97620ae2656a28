"""What a strange worker does otherwise: it waits for the test, or lives at another time."""

import datetime
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.utils import timezone

CLAIM = "claim"
"""A place to pause at: the worker has taken the entry, and has not claimed the run."""


class StrangeConfig(AppConfig):
    name = "tests.faults.strange"
    label = "strange"
    path = str(Path(__file__).parent)

    def ready(self) -> None:
        from memops.console.runs import claim, doorbell
        from tests.faults import pauses

        pauses.install(os.environ["PAUSE_AT"], say, go_on=Path(os.environ["GO_ON"]))
        demand = claim.release.demand_own_tables

        def demanded() -> None:
            say(CLAIM)
            while os.environ["PAUSE_AT"] == CLAIM and not Path(os.environ["GO_ON"]).exists():
                time.sleep(0.02)
            demand()

        claim.release = type("Release", (), {"demand_own_tables": staticmethod(demanded)})
        if seconds := settings.STRANGE.get("taken_for_seconds"):
            doorbell.TAKEN_FOR = timedelta(seconds=seconds)
        if seconds := settings.STRANGE.get("looks_every_seconds"):
            doorbell.LOOKS_EVERY = timedelta(seconds=seconds)
        if seconds := settings.STRANGE.get("ahead_seconds"):
            set_the_clock(timedelta(seconds=seconds))


def say(text: str) -> None:
    with Path(os.environ["SAYS"]).open("a") as file:
        file.write(f"{text}\n")


def set_the_clock(ahead: timedelta) -> None:
    """Whatever in this process asks Python what time it is, hears another. The kernel, and so the times of files, and
    the server have the right time, as another machine has."""
    real_time, real_now, real_datetime = time.time, timezone.now, datetime.datetime

    class Shifted(real_datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real_datetime.now(tz) + ahead

    replaced = {
        id(real_time): lambda: real_time() + ahead.total_seconds(),
        id(real_now): lambda: real_now() + ahead,
    }
    for name, module in list(sys.modules.items()):
        for attribute, value in list(vars(module).items()):
            if id(value) in replaced:
                setattr(module, attribute, replaced[id(value)])
            elif value is real_datetime and name.startswith(("memops", "django_q")):
                setattr(module, attribute, Shifted)
