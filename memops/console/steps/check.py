"""A thing that a step has looked at, and whether it is as it has to be: what proofs and checklists are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    ok: bool
    detail: str
