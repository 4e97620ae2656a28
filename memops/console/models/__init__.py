"""What the console keeps: state and constraints, no procedure."""

from memops.console.models.approval import Approval, GlassReview
from memops.console.models.audit import AuditEvent
from memops.console.models.backup import Backup
from memops.console.models.checklist import ChecklistItem, ChecklistTemplate, RunClosing, SignOff
from memops.console.models.hold import Hold
from memops.console.models.procedure import Contact, Review
from memops.console.models.quarantine import QuarantinedTable
from memops.console.models.run import RUN_ENDS, STEP_ENDS, Run, Step
from memops.console.models.target import Target

__all__ = [
    "RUN_ENDS",
    "STEP_ENDS",
    "Approval",
    "AuditEvent",
    "Backup",
    "ChecklistItem",
    "ChecklistTemplate",
    "Contact",
    "GlassReview",
    "Hold",
    "QuarantinedTable",
    "Review",
    "Run",
    "RunClosing",
    "SignOff",
    "Step",
    "Target",
]
