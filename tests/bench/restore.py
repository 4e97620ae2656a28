"""What does a restore cost that is compared and tried out, beside one that is not?

From the claim to the swap, into a database whose table was dropped. The bare limit is `pg_restore -j2` of the same
archive, unpacked beforehand, with the same memory and workers for its indexes: no hash, no fingerprint, no comparison,
and straight into public.
"""

import os
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connections

from memops.console.models import Backup, Run
from memops.console.pg import clients, packed, restore, session
from memops.console.runs import history
from memops.console.runs.plan import plan_backup, plan_restore
from tests.bench import figures, ground, rollbacks
from tests.databases import as_superuser

ROWS = (100_000,)
ROUNDS = 3


def run(sizes: tuple[int, ...], rounds: int) -> None:
    restored, bare = defaultdict[int, list[float]](list), defaultdict[int, list[float]](list)
    steps = defaultdict[tuple[int, str], list[float]](list)
    for rows in sizes:
        with ground.copy_of(ground.filled(rows)) as database:
            history.notice("default")
            backup = rollbacks.done(plan_backup("default")).backups.get()
            unpacked = _unpacked(backup)
            for number in range(rounds):
                for ours in (True, False) if number % 2 else (False, True):
                    _drop(database)
                    if not ours:
                        bare[rows].append(_bare(database, unpacked))
                        continue
                    run = rollbacks.done(plan_restore(backup))
                    restored[rows].append(_until_swapped(run))
                    for step in run.steps.all():
                        steps[rows, step.name].append(step.took.total_seconds() if step.took else 0.0)

    figures.heading("Restore, compared and tried out, against a bare pg_restore -j2 (goal at 100,000 rows: 1.1)")
    for rows in sizes:
        figures.line(f"{rows:>7,} rows: pg_restore -j2", figures.spread(bare[rows], "s"))
        figures.line(f"{rows:>7,} rows: from claim to swap", figures.spread(restored[rows], "s"))
        for (of_rows, name), took in steps.items():
            if of_rows == rows:
                figures.line(f"{rows:>7,} rows:    of it {name}", figures.spread(took, "s"))
        figures.line(f"{rows:>7,} rows: restore / bare", figures.spread(figures.ratios(restored[rows], bare[rows])))


def _until_swapped(run: Run) -> float:
    swapped = run.steps.get(name="swap").ended_at
    assert swapped is not None
    assert run.claimed_at is not None
    return (swapped - run.claimed_at).total_seconds()


def _unpacked(backup: Backup) -> Path:
    path = Path(backup.location)
    unpacked = path.with_name("bare.dump")
    with packed.opened(path) as file, unpacked.open("wb") as whole:
        for piece in packed.unpacked(file, path):
            whole.write(piece)
    return unpacked


def _drop(database: str) -> None:
    """As if it had never been there; the journal stays."""
    connections["default"].close()
    with psycopg.connect(ground.owner_url(database), autocommit=True) as connection:
        connection.execute("drop table if exists public.memory_chunks")
    as_superuser("checkpoint")


def _bare(database: str, archive: Path) -> float:
    with psycopg.connect(ground.owner_url(database)) as connection:
        client = clients.find("pg_restore", server_version=connection.info.server_version)
    memory = settings.MEMOPS_MAINTENANCE_WORK_MEM_BYTES // 1024
    workers = restore.safe_workers(session.libpq_params("default"))
    options = {
        "maintenance_work_mem": f"{memory}kB",
        "max_parallel_maintenance_workers": workers,
        "min_parallel_table_scan_size": 0,
    }
    environment = {
        "PATH": os.environ["PATH"],
        "PGOPTIONS": " ".join(f"-c {key}={value}" for key, value in options.items()),
    }
    began = time.monotonic()
    subprocess.run(
        [str(client.path), "-j2", "--exit-on-error", "-d", ground.owner_url(database), str(archive)],
        env=environment,
        check=True,
    )
    return time.monotonic() - began
