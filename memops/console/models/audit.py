"""What was done, by whom: the append-only trail."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class AuditEvent(models.Model):
    """One link of the chain. The database numbers, dates and hashes it, and refuses every change.

    Not managed: ``flush`` would truncate it, which its trigger refuses.
    """

    sequence = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    actor = models.TextField()
    action = models.TextField()
    object_type = models.TextField()
    object_id = models.TextField()
    run = models.BigIntegerField(null=True)
    target = models.TextField()
    details = models.TextField(help_text="JSON as it was hashed: never parse and write it again.")
    request_id = models.TextField()
    address = models.TextField()
    previous = models.TextField()
    hash = models.TextField()

    class Meta:
        db_table = "audit_event"
        ordering = ["-sequence"]
        managed = False
        default_permissions = ("view",)
        permissions = [
            ("verify_auditevent", "Can verify the audit trail"),
            ("export_auditevent", "Can export the audit trail"),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action} by {self.actor}"

    def get_absolute_url(self) -> str:
        return reverse("admin:memops_console_auditevent_change", args=[self.sequence])
