"""`python -m tests`: every test. The faults, which kill a server again and again, are injected beside the others, on a
server of their own: on two cores that takes little more than half as long."""

import os
import subprocess
import sys

from tests.environment import CLONE

PYTEST = [sys.executable, "-m", "pytest", *sys.argv[1:]]
LOG = CLONE / ".memops" / "faults.log"


def main() -> int:
    LOG.parent.mkdir(mode=0o700, exist_ok=True)
    with LOG.open("w+") as said:
        with subprocess.Popen(
            [*PYTEST, "tests/faults"],
            cwd=CLONE,
            env={**os.environ, "TEST_HOME": "test-faults"},
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as faults:
            others = subprocess.run([*PYTEST, "--ignore=tests/faults"], cwd=CLONE, check=False)
            print("The faults are injected beside; waiting for the last of them.", flush=True)
        said.seek(0)
        print(said.read(), flush=True)
    return others.returncode or faults.returncode


if __name__ == "__main__":
    sys.exit(main())
