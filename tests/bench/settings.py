"""The settings of the benchmarks: a home and an embedded server of their own, nothing inherited, quiet logs."""

import os

from tests.environment import CLONE, begin_at

begin_at(CLONE / ".memops" / "bench")
# What people take to approve is not what is measured.
os.environ["MEMOPS_APPROVALS"] = "*/*=0"

from project.settings import *  # noqa: E402, F403  the environment has to be right first
from project.settings import LOGGING  # noqa: E402

LOGGING["root"]["level"] = "WARNING"
