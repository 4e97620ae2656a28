"""`python -m tests.faults.reader`: what ``manage.py check`` makes of a hostile environment, again and again.

For each line of JSON on standard input, the variables, a process is forked, which is much faster than starting one; the
line that comes back has its exit code, and what it said.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback

# What takes long to import, and reads no settings.
import django.contrib.admin.checks
import django.core.management
import django.db.backends.postgresql.base  # noqa: F401
import gunicorn  # noqa: F401

import project.embedded
import project.environment  # noqa: F401
from tests.environment import CLONE


def read(variables: dict[str, str]) -> tuple[int, str]:
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                for stream in (1, 2):
                    os.dup2(said.fileno(), stream)
                os.environ.update(variables)
                sys.argv = ["manage.py", "check"]
                runpy.run_path(str(CLONE / "manage.py"), run_name="__main__")
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode(errors="surrogateescape")


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(read(json.loads(line))), flush=True)
