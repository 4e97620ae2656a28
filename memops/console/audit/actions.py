"""What happened, in words: every action that memops itself writes."""

from __future__ import annotations

WORDS = {
    "run.requested": "asked for a run",
    "run.not_accepted": "asked for a run that was refused",
    "run.cancel_asked": "asked to cancel a run",
    "run.cancelled": "cancelled a run",
    "run.claimed": "began a run",
    "run.ended": "ended a run",
    "run.settled": "settled a run after the fact",
    "run.noticed_by_hand": "noticed a change made by hand",
    "run.log_downloaded": "downloaded a run's log",
    "step.begun": "began a step",
    "step.ended": "ended a step",
    "backup.written": "wrote a backup",
    "backup.failed": "failed to write a backup",
    "backup.verified": "proved a backup",
    "backup.not_verified": "could not prove a backup",
    "sign_in": "signed in",
    "sign_in.failed": "was not let in",
    "sign_out": "signed out",
    "permission.refused": "was refused a page",
    "settings.seen": "started with settings that were not recorded before",
    "settings.changed": "started with other settings",
    "user.created": "created a user",
    "user.changed": "changed a user",
    "user.deleted": "deleted a user",
    "user.group.given": "added a user to a group",
    "user.group.taken": "removed a user from a group",
    "user.group.all_taken": "removed a user from every group",
    "user.permission.given": "gave a user a permission",
    "user.permission.taken": "took a permission from a user",
    "user.permission.all_taken": "took every permission from a user",
    "group.created": "created a group",
    "group.changed": "changed a group",
    "group.deleted": "deleted a group",
    "group.permission.given": "gave a group a permission",
    "group.permission.taken": "took a permission from a group",
    "group.permission.all_taken": "took every permission from a group",
    "contact.created": "recorded a contact",
    "contact.changed": "changed a contact",
    "contact.deleted": "deleted a contact",
    "review.created": "signed a review of the procedure",
    "review.changed": "changed a review of the procedure",
    "review.deleted": "deleted a review of the procedure",
    "audit.anchors_begun": "began a file of anchors",
    "audit.anchor_sent": "sent an anchor",
    "audit.anchor_failed": "failed to write an anchor",
    "audit.exported": "exported the audit trail",
    "audit.checked": "checked the audit trail",
    "audit.accepted": "accepted the audit trail as it is",
}


def words(action: str) -> str:
    """An action in words; one that memops does not know, as it is."""
    return WORDS.get(action, action)
