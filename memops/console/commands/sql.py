"""``memops sql``: what to paste into psql when Django is not available.

It needs no database, and manage.py starts none for it.
"""

from __future__ import annotations

import argparse

from memops import sql
from memops.console.commands import Exit
from memops.console.commands.output import Output

HELP = "print SQL for psql: the rollback, its undo, or the roles that memops needs"

TEXTS = {"rollback": sql.rollback_by_hand, "undo": sql.undo_by_hand, "roles": sql.roles}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=sorted(TEXTS), help="which SQL")


def run(options: argparse.Namespace, out: Output) -> int:
    text = TEXTS[options.what]()
    if out.as_json:
        out.result(sql=text)
    else:
        out.raw(text)
    return Exit.DONE
