"""`python -m tests.bench.executor`: a process that is ready, and executes the run whose id comes on standard input."""

import django

django.setup()

from memops.console.runs.advance import advance  # noqa: E402  Django has to be set up first

if __name__ == "__main__":
    print("ready", flush=True)
    advance(int(input()))
