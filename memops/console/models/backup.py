"""A backup of memory_chunks, and what was proved of it."""

from __future__ import annotations

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse


class Backup(models.Model):
    """An archive with its manifest. It counts as verified only when it was restored and compared (design rule 5)."""

    class State(models.TextChoices):
        WRITING = "writing", "Being written"
        WRITTEN = "written", "Written, not verified"
        VERIFIED = "verified", "Verified by restore"
        FAILED = "failed", "Failed"
        DELETING = "deleting", "Being deleted"
        DELETED = "deleted", "Deleted"

    COMPLETE = (State.WRITTEN, State.VERIFIED)

    run = models.ForeignKey("memops_console.Run", on_delete=models.PROTECT, related_name="backups")
    target = models.ForeignKey("memops_console.Target", on_delete=models.PROTECT, related_name="backups")
    state = models.CharField(max_length=16, choices=State.choices, default=State.WRITING)
    relation = models.CharField(max_length=140, help_text="What was dumped: schema and name.")
    table_oid = models.BigIntegerField()
    server = models.CharField(max_length=80, help_text="System identifier and oid of the database it was dumped from.")
    format = models.CharField(max_length=16, default="archive")
    location = models.TextField(blank=True, help_text="Path of the archive; its manifest is beside it.")
    size_bytes = models.BigIntegerField(null=True, blank=True)
    raw_bytes = models.BigIntegerField(null=True, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    rows = models.BigIntegerField(null=True, blank=True)
    fingerprint = models.CharField(max_length=200, blank=True)
    manifest = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    verification = models.JSONField(default=dict, encoder=DjangoJSONEncoder, help_text="What the last check found.")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(db_default=Now())
    written_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    deleted_by_name = models.CharField(max_length=150, blank=True)
    deleted_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-pk"]
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                name="backup_state_known",
                condition=Q(state__in=["writing", "written", "verified", "failed", "deleting", "deleted"]),
            ),
            models.CheckConstraint(
                name="backup_deleted_by_somebody",
                condition=Q(state="deleting", deleted_at__isnull=True) & ~Q(deleted_by_name="")
                | Q(state="deleted", deleted_at__isnull=False) & ~Q(deleted_by_name="")
                | ~Q(state__in=["deleting", "deleted"]) & Q(deleted_at__isnull=True, deleted_by_name=""),
            ),
            models.CheckConstraint(
                name="backup_written_is_complete",
                condition=~Q(state__in=["written", "verified"])
                | Q(
                    size_bytes__gt=0,
                    rows__gte=0,
                    written_at__isnull=False,
                    sha256__regex=r"^[0-9a-f]{64}$",
                )
                & ~Q(fingerprint="")
                & ~Q(location=""),
            ),
            models.CheckConstraint(
                name="backup_verified_has_time", condition=~Q(state="verified") | Q(verified_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"Backup {self.pk} of {self.relation} on {self.target_id}"

    def get_absolute_url(self) -> str:
        return reverse("admin:memops_console_backup_change", args=[self.pk])
