"""`python -m tests.faults.supervised_web HOST:PORT`: the web server, kept running as ``memops up`` keeps it."""

import sys

from memops.console import supervisor


def main(bind: str) -> None:
    supervisor.supervise(
        [supervisor.Program(name="web server", argv=supervisor.web_command(bind))],
        is_ready=lambda: supervisor.answers(bind),
        banner="ready",
        announce=lambda line: print(line, file=sys.stderr, flush=True),
    )


if __name__ == "__main__":
    main(sys.argv[1])
