"""A reader in a loop, in a process of its own: reads one row of its tenant again and again, as the application does.

`python -m tests.bench.reader URL TENANT FILE`: writes a line a read to FILE, `start seconds ok`, the start by the
machine's monotonic clock, until its standard input is closed. When the table is gone its reads are errors (ok is 0).
"""

import sys
import threading
import time
from pathlib import Path

import psycopg


def main(url: str, tenant: str, file: str) -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), over.set()), daemon=True).start()
    with psycopg.connect(url, autocommit=True) as connection, Path(file).open("w") as reads:
        while not over.is_set():
            ok, began = 1, time.monotonic()
            try:
                with connection.transaction():
                    connection.execute("select pg_catalog.set_config('app.user_hash', %s, true)", [tenant])
                    found = connection.execute("select id from public.memory_chunks limit 1").fetchone()
                    assert found is not None, "The tenant has no row: the reader would read nothing."
            except psycopg.errors.UndefinedTable:
                ok = 0
            reads.write(f"{began} {time.monotonic() - began} {ok}\n")
            reads.flush()
            time.sleep(0.002)


if __name__ == "__main__":
    main(*sys.argv[1:])
