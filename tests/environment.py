"""Settings that come from nowhere but a home folder: nothing of the caller's environment."""

import os
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
INHERITED = ("MEMOPS_", "MEMORY_", "PG", "SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL")


def begin_at(home: Path) -> None:
    """Forget what the environment says of memops and PostgreSQL, and have this home. Settings are imported later."""
    for name in [*os.environ]:
        if name.startswith(INHERITED) or name.endswith("_DATABASE_URL"):
            del os.environ[name]
    os.environ["MEMOPS_HOME"] = str(home)
