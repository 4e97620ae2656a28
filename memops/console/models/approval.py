"""Who agreed to a run, and who looked at one that nobody had agreed to. The database enforces both (approvals.sql)."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from memops.console.models.run import Run


class Approval(models.Model):
    """A decision on a run that awaits one. It is taken back by being revoked, and never changed otherwise."""

    class Decision(models.TextChoices):
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="approvals")
    requester_key = models.CharField(max_length=200, help_text="The run's own: no approval is the requester's.")
    digest = models.CharField(max_length=64, help_text="The plan that was agreed to.")
    decision = models.CharField(max_length=16, choices=Decision.choices)
    approver = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="approvals_given"
    )
    approver_key = models.CharField(max_length=200)
    approver_name = models.CharField(max_length=150)
    comment = models.TextField(blank=True)
    decided_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_comment = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                name="approval_is_not_the_requesters", condition=~Q(approver_key=F("requester_key"))
            ),
            models.CheckConstraint(name="approval_decision_known", condition=Q(decision__in=["approved", "rejected"])),
            models.UniqueConstraint(
                name="approval_one_a_person", fields=["run", "approver_key"], condition=Q(revoked_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_decision_display()} by {self.approver_name}"


class GlassReview(models.Model):
    """Somebody else has looked at a run that was started without approvals."""

    run = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="glass_review")
    requester_key = models.CharField(max_length=200)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    reviewer_key = models.CharField(max_length=200)
    reviewer_name = models.CharField(max_length=150)
    note = models.TextField()
    reviewed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                name="glass_review_is_not_the_requesters", condition=~Q(reviewer_key=F("requester_key"))
            )
        ]

    def __str__(self) -> str:
        return f"Review of run {self.run_id} by {self.reviewer_name}"
