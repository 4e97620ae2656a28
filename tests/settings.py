"""The project's settings as the tests have them: a home and an embedded server of their own, nothing inherited."""

import os

from tests.environment import CLONE, begin_at

HOME = CLONE / ".memops" / os.environ.get("TEST_HOME", "test")
begin_at(HOME)
# Most tests are about what a run does; those about who may start it say so.
os.environ["MEMOPS_APPROVALS"] = "*/*=0"

from project.settings import *  # noqa: E402, F403  the environment has to be right first
