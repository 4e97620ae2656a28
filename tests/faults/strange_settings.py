"""Settings of a worker that is not as it should be; the test says how, in ``STRANGE``, as JSON.

``queue`` changes Q_CLUSTER, ``ahead_seconds`` is how far this process's clock goes before the others', ``release`` is
the version that it takes itself for, ``taken_for_seconds`` is how long an entry is whose that took it, and
``looks_every_seconds`` how often it looks for queued runs. It pauses where ``PAUSE_AT`` says, until the file ``GO_ON``
is there.
"""

import json
import os

import memops

STRANGE = json.loads(os.environ["STRANGE"])
memops.__version__ = STRANGE.get("release", memops.__version__)

from project.settings import *  # noqa: E402, F403  the release has to be there first

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.strange.StrangeConfig"]  # noqa: F405
Q_CLUSTER = Q_CLUSTER | STRANGE.get("queue", {})  # noqa: F405
SILENCED_SYSTEM_CHECKS = [*SILENCED_SYSTEM_CHECKS, "memops.E004", "memops.E008"]  # noqa: F405
