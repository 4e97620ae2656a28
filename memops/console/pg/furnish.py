"""What a dump of one table takes for granted, put into a scratch database: extension, schema, roles, functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import psycopg
from psycopg.sql import SQL, Identifier

from memops.console.errors import NoScratch
from memops.console.pg import catalogue, session
from memops.console.pg.manifest import Manifest
from memops.console.pg.scratch import ScratchPlace
from memops.console.pg.sql import query

VECTOR = "vector"


def furnish(params: dict[str, str], alias: str, manifest: Manifest, place: ScratchPlace) -> None:
    """Have in a scratch database what the archive does not bring itself. Raises NoScratch with what cannot be had."""
    restoring = params["user"]
    prepared = place.preparing | {"dbname": params["dbname"]}
    with session.connect_to(prepared, name=alias, application_name="memops furnishes a scratch database") as connection:
        _check_extension(connection, alias, manifest, place)
        try:
            _make_roles(connection, alias, manifest, place)
            _let_owner_in(connection, manifest, restoring)
        except psycopg.errors.InsufficientPrivilege as error:
            names = ", ".join(sorted(roles(manifest) - {"public"}))
            reason = f"there the role {prepared['user']} may not make or use the roles that the archive names ({names})"
            raise NoScratch(target=alias, reason=f"{reason}: {error.diag.message_primary}") from error
        _make_functions(connection, alias, manifest, restoring)


def roles(manifest: Manifest) -> set[str]:
    """Every role that the archive's owner, policies and grants name."""
    return set(_roles(manifest))


def _roles(manifest: Manifest) -> Iterator[str]:
    described = manifest.catalogue
    yield described["owner"]
    for _, names, *_ in described["policies"].values():
        yield from names
    for grantee, *_ in described["grants"]:
        if grantee != "PUBLIC":
            yield grantee


def _check_extension(connection: session.Connection, alias: str, manifest: Manifest, place: ScratchPlace) -> None:
    wanted, there = manifest.extensions.get(VECTOR), catalogue.extensions(connection).get(VECTOR)
    if wanted is None:
        return
    if there is None:
        raise NoScratch(target=alias, reason=f"{place} lacks the extension {VECTOR} {wanted}")
    if parts(there) < parts(wanted):
        raise NoScratch(
            target=alias, reason=f"{place} has the extension {VECTOR} {there}, older than the {wanted} of the backup"
        )


def parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _make_roles(connection: session.Connection, alias: str, manifest: Manifest, place: ScratchPlace) -> None:
    missing = connection.execute(query("scratch", "missing_roles"), {"names": sorted(roles(manifest))}).fetchall()
    if missing and not place.is_ours:
        names = ", ".join(name for (name,) in missing)
        raise NoScratch(target=alias, reason=f"the archive names roles that the server does not have: {names}")
    for (name,) in missing:
        with suppress(psycopg.errors.DuplicateObject):  # Another proof has just made it.
            connection.execute(SQL(query("scratch", "create_role")).format(Identifier(name)))


def _let_owner_in(connection: session.Connection, manifest: Manifest, restoring: str) -> None:
    schema, owner = Identifier(manifest.schema), manifest.catalogue["owner"]
    connection.execute(SQL(query("scratch", "make_schema")).format(schema))
    for role in {owner, restoring}:
        connection.execute(SQL(query("scratch", "let_owner_in")).format(schema, Identifier(role)))
    is_member = connection.execute(query("scratch", "is_member"), {"member": restoring, "name": owner}).fetchall()
    if is_member != [(True,)]:
        connection.execute(SQL(query("scratch", "make_member")).format(Identifier(owner), Identifier(restoring)))


def _make_functions(connection: session.Connection, alias: str, manifest: Manifest, restoring: str) -> None:
    """Without the functions of its triggers and constraints the table would not restore."""
    connection.execute(query("scratch", "leave_bodies_unchecked"))
    for name, (schema, definition) in manifest.functions.items():
        try:
            connection.execute(SQL(query("scratch", "make_schema")).format(Identifier(schema)))
            for role in {manifest.catalogue["owner"], restoring}:
                connection.execute(SQL(query("scratch", "let_owner_in")).format(Identifier(schema), Identifier(role)))
            # Binary: the protocol that takes one statement alone, so nothing can follow the function's end.
            connection.execute(definition.encode(), binary=True)
        except psycopg.Error as error:
            said = error.diag.message_primary or "the connection was lost"
            raise NoScratch(target=alias, reason=f"there the table's function {name} cannot be made: {said}") from error
