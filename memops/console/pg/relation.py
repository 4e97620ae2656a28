"""A table as the catalogue describes it, and what differs between two of them, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Column:
    name: str
    type: str
    not_null: bool
    default: str | None


@dataclass(frozen=True, kw_only=True)
class Policy:
    name: str
    permissive: bool
    roles: list[str]
    command: str
    using: str | None
    check: str | None


@dataclass(frozen=True, kw_only=True)
class Constraint:
    name: str
    definition: str
    validated: bool


@dataclass(frozen=True, kw_only=True)
class Index:
    """``columns``: expression, operator class and order of each key column, in order."""

    name: str
    method: str
    is_unique: bool
    is_primary: bool
    valid: bool
    ready: bool
    columns: list[str]
    predicate: str | None
    options: list[str]
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Trigger:
    name: str
    enabled: str
    function: str


@dataclass(frozen=True, kw_only=True)
class Grant:
    """``grantee`` None is everybody (PUBLIC); ``column`` None is the whole table."""

    grantee: str | None
    privilege: str
    grantable: bool
    column: str | None


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table. Sizes in bytes: ``table_bytes`` with its TOAST, ``total_bytes`` with its indexes as well."""

    oid: int
    schema: str
    name: str
    owner: str
    kind: str
    persistence: str
    rls_enabled: bool
    rls_forced: bool
    table_bytes: int
    index_bytes: int
    total_bytes: int
    estimated_rows: int
    row_security_active: bool
    columns: list[Column]
    policies: list[Policy]
    constraints: list[Constraint]
    indexes: list[Index]
    triggers: list[Trigger]
    grants: list[Grant]

    def catalogue(self, *, grants: bool = True, names: dict[str, str] | None = None) -> dict[str, Any]:
        """What a faithful copy shares with this table, as plain data: no oid, no size, no schema, no name of its own.

        ``names`` gives the indexes of a quarantined table, their constraints and its sequences the names they had
        before.
        """
        named = names or {}

        def home(expression: str | None) -> str | None:
            return self._at_home(expression, named)

        described: dict[str, Any] = {
            "owner": self.owner,
            "persistence": self.persistence,
            "row_security": {"enabled": self.rls_enabled, "forced": self.rls_forced},
            "columns": [[column.name, column.type, column.not_null, home(column.default)] for column in self.columns],
            "policies": {
                policy.name: [policy.permissive, policy.roles, policy.command, home(policy.using), home(policy.check)]
                for policy in self.policies
            },
            "constraints": {
                named.get(constraint.name, constraint.name): [home(constraint.definition), constraint.validated]
                for constraint in self.constraints
            },
            "indexes": {
                named.get(index.name, index.name): [
                    index.method,
                    index.is_unique,
                    index.is_primary,
                    index.valid and index.ready,
                    [home(column) for column in index.columns],
                    home(index.predicate),
                    index.options,
                ]
                for index in self.indexes
            },
            "triggers": {trigger.name: [trigger.enabled, trigger.function] for trigger in self.triggers},
        }
        if grants:
            described["grants"] = sorted(
                [grant.grantee or "PUBLIC", grant.privilege, grant.grantable, grant.column or ""]
                for grant in self.grants
            )
        return described

    def _at_home(self, expression: str | None, names: dict[str, str]) -> str | None:
        """An expression of a quarantined or staged table as it reads in the table's own place: it may name the table
        itself, or its sequences."""
        if expression is None or self.schema == "public":
            return expression
        if self.schema != "memops_quarantine":
            return expression.replace(f"{self.schema}.", "public.")
        for since, before in {**names, self.name: "memory_chunks"}.items():
            expression = expression.replace(since, before)
        return expression.replace("memops_quarantine.", "public.")


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What of a catalogue is missing, more, or another in a second one. Parts that only one of them has are left
    out."""
    told = [
        f"{part.replace('_', ' ')} is {_short(found[part])}, not {_short(expected[part])}"
        for part in ("owner", "persistence", "row_security")
        if part in expected and part in found and expected[part] != found[part]
    ]
    for part, singular in (
        ("policies", "policy"),
        ("constraints", "constraint"),
        ("indexes", "index"),
        ("triggers", "trigger"),
    ):
        told += _differences_by_name(singular, expected.get(part, {}), found.get(part, {}))
    told += _differences_by_name("column", _by_name(expected), _by_name(found))
    if [column[0] for column in expected.get("columns", [])] != [
        column[0] for column in found.get("columns", [])
    ] and not told:
        told.append("the columns stand in another order")
    if "grants" in expected and "grants" in found:
        told += [f"grant {_grant(grant)} is missing" for grant in expected["grants"] if grant not in found["grants"]]
        told += [
            f"grant {_grant(grant)} is more than there was"
            for grant in found["grants"]
            if grant not in expected["grants"]
        ]
    return told


def _differences_by_name(kind: str, expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    told = [f"{kind} {name} is missing" for name in sorted(expected.keys() - found.keys())]
    told += [f"{kind} {name} is more than there was" for name in sorted(found.keys() - expected.keys())]
    told += [
        f"{kind} {name} is another: {_short(found[name])}, not {_short(expected[name])}"
        for name in sorted(expected.keys() & found.keys())
        if expected[name] != found[name]
    ]
    return told


def _by_name(catalogue: dict[str, Any]) -> dict[str, Any]:
    return {column[0]: column[1:] for column in catalogue.get("columns", [])}


def _grant(grant: list[Any]) -> str:
    grantee, privilege, grantable, column = grant
    return f"{privilege}{f' ({column})' if column else ''} to {grantee}{' with grant option' if grantable else ''}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
