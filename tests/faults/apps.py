"""Puts the pauses into a worker of the tests."""

import os

from django.apps import AppConfig


class PausesConfig(AppConfig):
    name = "tests.faults"
    label = "faults"

    def ready(self) -> None:
        from tests.faults import paused_settings, pauses

        pauses.install(os.environ["PAUSE_AT"], paused_settings.says)
