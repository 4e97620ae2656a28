"""`python -m tests.bench [quarantine] [guided] [restore] [stall] [load] [--rows N ...] [--rounds N]`; no name: all."""

import argparse
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.settings"

import django

django.setup()

from tests.bench import figures, ground, guided, load, quarantine, restore, stall  # noqa: E402  Django has to be set up first

BENCHMARKS = {"quarantine": quarantine, "guided": guided, "restore": restore, "stall": stall, "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--rows", nargs="+", type=int, help="sizes of the table")
    parser.add_argument("--rounds", type=int, help="how often everything is measured, by turns")
    options = parser.parse_args()
    if unknown := sorted({*options.names} - {*BENCHMARKS}):
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    ground.start()
    print(f"{figures.machine()}, {ground.server()}")
    for name in options.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        benchmark.run(tuple(options.rows or benchmark.ROWS), options.rounds or benchmark.ROUNDS)


if __name__ == "__main__":
    main()
