"""Settings of a worker that waits where ``PAUSE_AT`` says, and writes into the file ``SAYS`` that it does."""

import os
from pathlib import Path

from project.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.apps.PausesConfig"]  # noqa: F405


def says(text: str) -> None:
    with Path(os.environ["SAYS"]).open("a") as file:
        file.write(f"{text}\n")
