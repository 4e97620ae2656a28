"""What does the proof cost? A guided rollback, whose backup is restored and compared, beside one that proves nothing.

The bare limit is a shell's `pg_dump -Fc -Z0 | zstd -1 > file`, then `drop table`: no hash, no fsync, no restore, no
comparison, and the rows are gone.
"""

import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psycopg
from django.conf import settings

from memops.console.pg import clients
from tests.bench import figures, ground, rollbacks

ROWS = (10_000, 100_000)
ROUNDS = 3

# For a machine without zstd: the same compression, by the library that memops itself uses.
ZSTD_IN_PYTHON = (
    "import sys, zstandard; zstandard.ZstdCompressor(level=1).copy_stream("
    "sys.stdin.buffer, sys.stdout.buffer, read_size=1 << 20, write_size=1 << 20)"
)


def run(sizes: tuple[int, ...], rounds: int) -> None:
    zstd = shutil.which("zstd")
    compressor = [zstd, "-q", "-1", "-c"] if zstd else [sys.executable, "-c", ZSTD_IN_PYTHON]
    templates = {rows: ground.filled(rows) for rows in sizes}
    guided, bare = defaultdict[int, list[float]](list), defaultdict[int, list[float]](list)
    steps = defaultdict[tuple[int, str], list[float]](list)
    for number in range(rounds):
        for rows, template in templates.items():

            def measure_bare(rows: int = rows, template: str = template) -> None:
                with ground.copy_of(template) as database:
                    bare[rows].append(_bare(database, compressor))

            def measure_guided(rows: int = rows, template: str = template) -> None:
                with ground.copy_of(template):
                    done = rollbacks.guided()
                    assert done.ended_at is not None
                    guided[rows].append((done.ended_at - done.requested_at).total_seconds())
                    for step in done.steps.all():
                        took = step.took
                        steps[rows, step.name].append(took.total_seconds() if took else 0.0)

            turns: list[Callable[[], None]] = [measure_bare, measure_guided]
            for turn in turns if number % 2 else reversed(turns):
                turn()

    figures.heading("Guided rollback with a proved backup, against one that proves nothing (goals: 3.5 and 3.0)")
    figures.line("the bare limit compresses by", "zstd -1" if zstd else "python-zstandard, level 1, in a process")
    for rows in sizes:
        figures.line(f"{rows:>7,} rows: pg_dump -Fc -Z0 | zstd -1, drop table", figures.spread(bare[rows], "s"))
        figures.line(f"{rows:>7,} rows: guided, from request to done", figures.spread(guided[rows], "s"))
        for (of_rows, name), took in steps.items():
            if of_rows == rows:
                figures.line(f"{rows:>7,} rows:    of it {name}", figures.spread(took, "s"))
        figures.line(f"{rows:>7,} rows: guided / bare", figures.spread(figures.ratios(guided[rows], bare[rows])))


def _bare(database: str, compressor: list[str]) -> float:
    url = ground.owner_url(database)
    with psycopg.connect(url, autocommit=True) as connection:
        pg_dump = clients.find("pg_dump", server_version=connection.info.server_version)
        folder = Path(settings.MEMOPS_BACKUP_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        argv = [str(pg_dump.path), "-Fc", "-Z0", "-t", "public.memory_chunks", "-d", url]
        began = time.monotonic()
        with (folder / "bare.dump.zst").open("wb") as file:
            dump = subprocess.Popen(argv, stdout=subprocess.PIPE)
            compress = subprocess.run(compressor, stdin=dump.stdout, stdout=file, check=False)
            assert (dump.wait(), compress.returncode) == (0, 0)
        connection.execute("drop table public.memory_chunks")
        return time.monotonic() - began
