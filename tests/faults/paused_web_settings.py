"""Settings of a web server that waits at the place that the file ``PAUSE_AT`` names, and writes into ``SAYS`` that it
does."""

from project.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.web_pauses.WebPausesConfig"]  # noqa: F405
