"""Every error an operator can meet. The same text reaches page, command, log and run record.

A message says what happened, on which target and object, what was not changed, and what to do next.
"""

from memops.console.errors.base import *  # noqa: F403
from memops.console.errors.keeping import *  # noqa: F403
from memops.console.errors.people import *  # noqa: F403
from memops.console.errors.work import *  # noqa: F403
