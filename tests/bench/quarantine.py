"""How long does a rollback take that moves the table instead of dropping it, and does it grow with the rows?

An emergency run, from its request to its verified postcheck: executed by a process that is ready, and by a real worker
that is rung by the queue. The peer is what a rollback without quarantine does to the same table: `drop table`.
"""

import time
from collections import defaultdict

import psycopg
from django.core.management import call_command
from psycopg import sql

from memops.console.models import Run
from tests.bench import figures, ground, rollbacks

ROWS = (0, 10_000, 100_000)
ROUNDS = 5


def run(sizes: tuple[int, ...], rounds: int) -> None:
    templates = {rows: ground.filled(rows) for rows in sizes}
    transaction, here, by_worker, drop = (defaultdict[int, list[float]](list) for _ in range(4))
    for _ in range(rounds):
        for rows, template in templates.items():
            with ground.copy_of(template) as database:
                rolled_back = rollbacks.emergency(database)
                transaction[rows].append(rolled_back.saw("reverse")["transaction_ms"])
                here[rows].append(rollbacks.until_checked(rolled_back))
                drop[rows].append(_bare_drop(database, rolled_back))
            with ground.copy_of(template) as database:
                by_worker[rows].append(rollbacks.until_checked(rollbacks.emergency_by_worker(database)))

    figures.heading("Rollback by quarantine (goals at 100,000 rows: transaction 50 ms, and flat; whole run 3 s)")
    for rows in sizes:
        what = f"{rows:>7,} rows:"
        figures.line(f"{what} the transaction", figures.spread(transaction[rows], "ms", 1))
        figures.line(f"{what} bare `drop table` of the same table", figures.spread(drop[rows], "ms", 1))
        figures.line(f"{what} transaction / bare", figures.spread(figures.ratios(transaction[rows], drop[rows])))
        figures.line(f"{what} request to verified postcheck", figures.spread(here[rows], "s"))
        figures.line(f"{what} the same by a real worker", figures.spread(by_worker[rows], "s"))
    least, most = min(sizes), max(sizes)
    flat = figures.ratios(transaction[most], transaction[least])
    figures.line(f"transaction at {most:,} rows / at {least:,} rows", figures.spread(flat))


def _bare_drop(database: str, run: Run) -> float:
    """Milliseconds to drop the same table. An empty one is gone by now and is made anew."""
    schema, name = "memops_quarantine", run.saw("reverse")["quarantined_as"]
    if not name:
        call_command("migrate", "memops", verbosity=0)
        schema, name = "public", "memory_chunks"
    with psycopg.connect(ground.owner_url(database), autocommit=True) as connection:
        began = time.perf_counter()
        connection.execute(sql.SQL("drop table {}.{}").format(sql.Identifier(schema), sql.Identifier(name)))
        return (time.perf_counter() - began) * 1000
