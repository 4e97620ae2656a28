"""The project's settings as the tests have them: a home and an embedded server of their own, nothing inherited."""

from tests.environment import CLONE, begin_at

HOME = CLONE / ".memops" / "test"
begin_at(HOME)

from project.settings import *  # noqa: E402, F403  the environment has to be right first
