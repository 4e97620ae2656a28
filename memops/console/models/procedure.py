"""The procedure itself: whom to call, and who looked at it last."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, TruncDate


class Contact(models.Model):
    """Somebody to call, and after whom."""

    position = models.PositiveSmallIntegerField(
        "escalation", validators=[MinValueValidator(1)], help_text="1 is called first; then 2, and so on."
    )
    name = models.CharField(max_length=120)
    role = models.CharField(max_length=120, help_text="Such as DBA, on-call engineer, security officer.")
    reached_by = models.CharField(max_length=250, help_text="Telephone, pager, chat: what works at night.")
    note = models.CharField(max_length=250, blank=True, help_text="Such as the hours, or who stands in.")

    class Meta:
        ordering = ["position", "name", "pk"]
        constraints = [models.CheckConstraint(name="contact_position_counts_from_1", condition=Q(position__gte=1))]

    def __str__(self) -> str:
        return f"{self.name} ({self.role})"


class Review(models.Model):
    """Somebody has looked at the whole procedure and stands for it, until it is due again. Never changed afterwards."""

    approved_at = models.DateTimeField(db_default=Now(), editable=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    approver_name = models.CharField("approved by", max_length=150, editable=False)
    role = models.CharField(max_length=120, help_text="In which role: such as DBA, security officer.")
    note = models.TextField(blank=True, help_text="What was looked at, what has to become better.")
    next_due = models.DateField("next review due")

    class Meta:
        ordering = ["-approved_at", "-pk"]
        default_permissions = ("add", "view")
        constraints = [
            models.CheckConstraint(name="review_is_due_later", condition=Q(next_due__gt=TruncDate(F("approved_at")))),
            models.CheckConstraint(name="review_has_a_name", condition=~Q(approver_name="")),
        ]

    def __str__(self) -> str:
        return f"Review of {self.approved_at:%Y-%m-%d} by {self.approver_name}"
