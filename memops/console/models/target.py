"""A database that memops works on."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Target(models.Model):
    """One alias of settings.DATABASES. What is known of it is read from it; this row is what rights and runs hang
    on."""

    alias = models.CharField(max_length=63, primary_key=True)
    configured = models.BooleanField(default=True, help_text="Is the alias in the settings of this console?")
    journal_seen = models.BigIntegerField(
        default=0, help_text="Entries of the target's journal up to this one are in the history."
    )
    journal_server = models.CharField(
        max_length=80, blank=True, help_text="Whose journal that is: system identifier and database oid."
    )
    since = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["alias"]
        permissions = [
            ("rollback_target", "Can roll back memory_chunks on a target"),
            ("undo_target", "Can undo a rollback on a target"),
            ("backup_target", "Can back up memory_chunks and verify backups"),
            ("purge_target", "Can ask for the purge of quarantined tables on a target"),
            ("expire_target", "Can delete backups of a target whose time is over"),
            ("hold_target", "Can put holds on what is kept of a target, and lift them"),
            ("restore_target", "Can restore memory_chunks from a backup"),
        ]

    def __str__(self) -> str:
        return self.alias
