"""Settings of commands that do not wait long for a server that says nothing."""

from datetime import timedelta

from project.settings import *  # noqa: F403

MEMOPS_PATIENCE = timedelta(seconds=3)
