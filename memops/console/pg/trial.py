"""What a table does, beside what its catalogue says: does it keep tenants apart, and do its memories open?"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Identifier

from memops.console.pg.session import Connection
from memops.console.pg.sql import query
from memops.errors import KeyUnusable, SealBroken, SealUnbound
from memops.sealing import open_sealed

SOMEBODY, SOMEBODY_ELSE = "0" * 64, "f" * 64
"""Tenants that nobody is: hashes of no user."""

SAMPLE = 50


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """``problem`` is empty where the table keeps tenants apart. ``tried`` is False where nobody could try it."""

    tried: bool
    problem: str
    rows_seen: int = 0


@dataclass(frozen=True, kw_only=True)
class Opened:
    """How many sealed values were tried, and how many did not open; ``reason`` is that of the first."""

    sample: int
    unopened: int
    reason: str


class _Done(Exception):
    """Ends a transaction of which nothing is to stay."""


def may_act_as(connection: Connection, role: str) -> bool:
    """Can the isolation be tried as the application at all?"""
    return connection.execute(query("trial", "may_be"), {"role": role}).fetchall() == [(True,)]


def isolation(connection: Connection, *, schema: str, name: str, role: str) -> Isolation:
    """Read and write as the application, in a transaction that is rolled back."""
    table = Identifier(schema), Identifier(name)
    if not may_act_as(connection, role):
        return Isolation(tried=False, problem="")
    found = connection.execute(SQL(query("trial", "tenants")).format(*table, *table)).fetchall()
    tenant, rows = found[0] if found else (SOMEBODY, 0)
    other = SOMEBODY_ELSE if tenant != SOMEBODY_ELSE else SOMEBODY
    problem = ""
    try:
        with connection.transaction():
            connection.execute(SQL(query("trial", "let_in")).format(Identifier(schema), Identifier(role)))
            connection.execute(SQL(query("trial", "be")).format(Identifier(role)))
            connection.execute(query("trial", "as_the_application"))
            problem = _problem(connection, schema, name, tenant=tenant, other=other, rows=rows)
            raise _Done
    except _Done:
        pass
    except psycopg.errors.InsufficientPrivilege as error:
        problem = f"the role {role} may not use it ({error.diag.message_primary})"
    return Isolation(tried=True, problem=problem, rows_seen=rows)


def _problem(connection: Connection, schema: str, name: str, *, tenant: str, other: str, rows: int) -> str:
    if connection.execute(query("trial", "is_active"), {"schema": schema, "name": name}).fetchall() != [(True,)]:
        return "row-level security does not hold for the application's role"
    for who, expected in ((tenant, rows), (other, None), ("", 0)):
        connection.execute(query("trial", "be_tenant"), {"tenant": who})
        seeing = SQL(query("trial", "seen")).format(Identifier(schema), Identifier(name))
        seen, others = connection.execute(seeing, {"tenant": who}).fetchall()[0]
        if others:
            return f"a tenant sees {others:,} rows of others" if who else f"nobody in particular sees {others:,} rows"
        if expected is not None and seen != expected:
            return f"a tenant sees {seen:,} of its {expected:,} rows"
    connection.execute(query("trial", "be_tenant"), {"tenant": tenant})
    writing = SQL(query("trial", "write_as_another")).format(Identifier(schema), Identifier(name))
    try:
        with connection.transaction():
            connection.execute(writing, {"tenant": other})
    except psycopg.errors.InsufficientPrivilege:
        return ""
    return "a tenant can write a row that belongs to another"


def opened(connection: Connection, *, schema: str, name: str) -> Opened:
    """Try to open some of what is sealed. What it says is looked at by nobody."""
    asking = SQL(query("trial", "sealed")).format(Identifier(schema), Identifier(name))
    sample, reasons = 0, []
    for tenant, *values in connection.execute(asking, {"most": SAMPLE}).fetchall():
        for value in values:
            if value is None:
                continue
            sample += 1
            try:
                open_sealed(bytes(value), tenant)
            except (SealBroken, SealUnbound, KeyUnusable) as error:
                reasons.append(str(error))
    return Opened(sample=sample, unopened=len(reasons), reason=reasons[0] if reasons else "")
