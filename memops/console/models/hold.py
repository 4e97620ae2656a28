"""Something that is kept has to stay, whatever its age: for a court, or because somebody still needs it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Hold(models.Model):
    """A hold on a quarantined table, or on a backup. It is lifted, never changed otherwise nor deleted (holds.sql).

    A legal and a manual one may stand at once: who lifts the one does not lift the other.
    """

    class Kind(models.TextChoices):
        MANUAL = "manual", "Manual hold"
        LEGAL = "legal", "Legal hold"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    table = models.ForeignKey(
        "memops_console.QuarantinedTable", null=True, blank=True, on_delete=models.PROTECT, related_name="holds"
    )
    backup = models.ForeignKey(
        "memops_console.Backup", null=True, blank=True, on_delete=models.PROTECT, related_name="holds"
    )
    reason = models.TextField()
    put_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    put_by_name = models.CharField(max_length=150)
    put_at = models.DateTimeField(db_default=Now(), editable=False)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    lifted_by_name = models.CharField(max_length=150, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(name="hold_kind_known", condition=Q(kind__in=["manual", "legal"])),
            models.CheckConstraint(
                name="hold_on_one_thing",
                condition=Q(table__isnull=False, backup__isnull=True) | Q(table__isnull=True, backup__isnull=False),
            ),
            models.CheckConstraint(name="hold_has_a_reason", condition=~Q(reason="") & ~Q(put_by_name="")),
            models.CheckConstraint(
                name="hold_lifted_by_somebody",
                condition=Q(lifted_at__isnull=True, lifted_by_name="", lifted_reason="")
                | Q(lifted_at__isnull=False) & ~Q(lifted_by_name="") & ~Q(lifted_reason=""),
            ),
            models.UniqueConstraint(
                name="hold_one_of_a_kind", fields=["table", "kind"], condition=Q(lifted_at__isnull=True)
            ),
            models.UniqueConstraint(
                name="hold_one_of_a_kind_on_a_backup",
                fields=["backup", "kind"],
                condition=Q(lifted_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} by {self.put_by_name} since {self.put_at:%Y-%m-%d %H:%M} UTC: {self.reason}"
