"""Runs, backups and quarantined tables as data, which docs/json.md documents, and as lines of a table."""

from __future__ import annotations

from typing import Any

from memops.console.models import Approval, Backup, GlassReview, Hold, QuarantinedTable, Run, SignOff
from memops.console.runs import checklists, holds
from memops.console.runs.checklists import Standing
from memops.console.runs.holds import Held
from memops.console.runs.retention import Deleted
from memops.console.units import NOTHING, duration, moment

COLUMNS = ["Run", "Kind", "Target", "State", "Outcome", "By", "Requested", "Took"]


def checks(run: Run) -> list[dict[str, Any]]:
    """Every check of the run's steps."""
    return [check for step in run.steps.all() for check in step.saw.get("checks", [])]


def described(run: Run) -> dict[str, Any]:
    """A run as data; documented in docs/json.md."""
    table = getattr(run, "quarantined_table", None)
    return {
        "id": run.pk,
        "kind": run.kind,
        "emergency": run.emergency,
        "target": run.target_id,
        "state": run.state,
        "outcome": run.outcome,
        "origin": run.origin,
        "requester": run.requester_name,
        "reason": run.reason,
        "requested_at": run.requested_at,
        "claimed_at": run.claimed_at,
        "ended_at": run.ended_at,
        "error": run.error,
        "digest": run.digest,
        "end_idle": run.plan.get("end_idle"),
        "ended_sessions": [
            {name: one[name] for name in ("pid", "role", "application", "idle_seconds")} for one in run.ended_sessions
        ],
        "undoes": run.undoes_id,
        "purges": run.purges.name if run.purges else None,
        "subject": run.subject_id,
        "rows_choice": run.plan.get("rows_choice", ""),
        "approvals_needed": run.approvals_needed,
        "approvals": [decision(found) for found in run.approvals.all()],
        "expires_at": run.expires_at,
        "not_before": run.not_before,
        "not_after": run.not_after,
        "started_by": run.starter_name,
        "break_glass": run.break_glass,
        "incident": run.incident,
        "review": review(run.glass_review) if hasattr(run, "glass_review") else None,
        "checklist": checklists.words(run),
        "steps": [
            {
                "name": step.name,
                "state": step.state,
                "seconds": step.took.total_seconds() if step.took else None,
                "saw": step.saw,
                "error": step.error,
            }
            for step in run.steps.all()
        ],
        "checks": checks(run),
        "quarantined_table": quarantined(table) if table else None,
        "backups": [backup_as_data(backup) for backup in run.backups.all()],
    }


def decision(found: Approval) -> dict[str, Any]:
    return {
        "decision": found.decision,
        "by": found.approver_name,
        "at": found.decided_at,
        "comment": found.comment,
        "revoked_at": found.revoked_at,
    }


def checklist(found: Standing) -> dict[str, Any]:
    """A run's checklist as data; documented in docs/json.md."""
    return {
        "run": found.run.pk,
        "version": found.template.version,
        "due": checklists.is_due(found.run),
        "closed": found.is_closed,
        "open_items": found.open_items,
        "items": [
            {
                "number": one.item.number,
                "block": one.item.block,
                "text": one.item.text,
                "machine": one.item.machine,
                "role": one.item.role,
                "required": one.item.required,
                "state": one.state,
                "said": [sign_off(said) for said in one.said],
            }
            for one in found.items
        ],
        "closings": [
            {"decision": one.decision, "by": one.person_name, "at": one.at, "note": one.note} for one in found.closings
        ],
    }


def sign_off(said: SignOff) -> dict[str, Any]:
    return {
        "decision": said.decision,
        "by": said.signer_name,
        "role": said.role,
        "at": said.at,
        "note": said.note,
    }


def review(found: GlassReview) -> dict[str, Any]:
    return {"by": found.reviewer_name, "at": found.reviewed_at, "note": found.note}


def quarantined(table: QuarantinedTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "schema": "memops_quarantine",
        "state": table.state,
        "rows": table.rows,
        "total_bytes": table.total_bytes,
        "fingerprint": table.fingerprint,
        "backup": table.backup_id,
        "run": table.run_id,
        "since": table.since,
        "left_at": table.left_at,
        "kept_until": holds.kept_until(table),
        "holds": holds_on(table),
    }


def hold(found: Hold) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "reason": found.reason,
        "by": found.put_by_name,
        "at": found.put_at,
        "lifted_by": found.lifted_by_name,
        "lifted_at": found.lifted_at,
        "lifted_reason": found.lifted_reason,
    }


def backup_as_data(backup: Backup) -> dict[str, Any]:
    return {
        "id": backup.pk,
        "state": backup.state,
        "target": backup.target_id,
        "relation": backup.relation,
        "location": backup.location,
        "size_bytes": backup.size_bytes,
        "sha256": backup.sha256,
        "rows": backup.rows,
        "fingerprint": backup.fingerprint,
        "written_at": backup.written_at,
        "verified_at": backup.verified_at,
        "deleted_at": backup.deleted_at,
        "deleted_by": backup.deleted_by_name,
        "holds": holds_on(backup),
    }


def holds_on(what: Held) -> list[dict[str, Any]]:
    return [hold(one) for one in what.holds.all()]


def deletion(found: Deleted) -> dict[str, Any]:
    return {"id": found.backup.pk, "state": found.backup.state, "files": found.files, "problem": found.problem}


def one_line(run: Run) -> list[Any]:
    """A run as a row of a table."""
    took = duration(run.took) if run.took is not None else NOTHING
    return [
        run.pk,
        run.title,
        run.target_id,
        run.get_state_display(),
        run.get_outcome_display() or NOTHING,
        run.requester_name or NOTHING,
        moment(run.requested_at),
        took,
    ]
