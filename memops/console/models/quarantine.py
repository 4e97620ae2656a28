"""A table that a rollback has moved out of the way."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.urls import reverse


class QuarantinedTable(models.Model):
    """What lies in memops_quarantine on a target. The name tells when; nobody but the owner has a right on it."""

    class State(models.TextChoices):
        KEPT = "kept", "In quarantine"
        RESTORED = "restored", "Moved back"
        MISSING = "missing", "No longer there"
        PURGED = "purged", "Dropped for good"

    run = models.OneToOneField("memops_console.Run", on_delete=models.PROTECT, related_name="quarantined_table")
    target = models.ForeignKey("memops_console.Target", on_delete=models.PROTECT, related_name="quarantined_tables")
    state = models.CharField(max_length=16, choices=State.choices, default=State.KEPT)
    name = models.CharField(max_length=63)
    table_oid = models.BigIntegerField()
    server = models.CharField(max_length=80, help_text="System identifier and oid of the database that holds it.")
    rows = models.BigIntegerField(null=True, blank=True)
    total_bytes = models.BigIntegerField(null=True, blank=True)
    fingerprint = models.CharField(max_length=200, blank=True)
    backup = models.ForeignKey(
        "memops_console.Backup",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="A verified backup with the same fingerprint.",
    )
    since = models.DateTimeField()
    left_at = models.DateTimeField(null=True, blank=True)
    doomed_by = models.ForeignKey(
        "memops_console.Run",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The purge that goes on to the drop: as long as it is active, a hold is late.",
    )

    class Meta:
        ordering = ["-since"]
        default_permissions = ("view",)
        verbose_name = "quarantined table"
        constraints = [
            models.CheckConstraint(
                name="quarantine_state_known", condition=Q(state__in=["kept", "restored", "missing", "purged"])
            ),
            models.CheckConstraint(
                name="quarantine_left_has_time",
                condition=Q(state="kept", left_at__isnull=True)
                | Q(state__in=["restored", "missing", "purged"], left_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} on {self.target_id}"

    def get_absolute_url(self) -> str:
        return reverse("admin:memops_console_quarantinedtable_change", args=[self.pk])

    @property
    def relation(self) -> str:
        return f"memops_quarantine.{self.name}"
