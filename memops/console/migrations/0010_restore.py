"""Restores: the kind of run, its outcome, who may ask for one, and its checklist."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

from memops.console.migrations._checklists import RESTORE, deliver
from memops.console.migrations._groups import give_to

KINDS = [
    ("deploy", "Deploy"),
    ("rollback", "Rollback"),
    ("undo", "Undo of a rollback"),
    ("backup", "Backup"),
    ("verify", "Verification of a backup"),
    ("purge", "Purge of a quarantined table"),
    ("restore", "Restore of a backup"),
]


def publish(apps: Any, schema_editor: Any) -> None:
    deliver(apps, schema_editor, {"restore": RESTORE})


def give(apps: Any, schema_editor: Any) -> None:
    """Who may ask for an undo may ask for a restore: it puts a table in place, and takes none away for good."""
    give_to(apps, schema_editor, {"requester": ("restore_target",)})


class Migration(migrations.Migration):
    dependencies = [("memops_console", "0009_purge")]

    operations = [
        migrations.AlterModelOptions(
            name="target",
            options={
                "ordering": ["alias"],
                "permissions": [
                    ("rollback_target", "Can roll back memory_chunks on a target"),
                    ("undo_target", "Can undo a rollback on a target"),
                    ("backup_target", "Can back up memory_chunks and verify backups"),
                    ("purge_target", "Can ask for the purge of quarantined tables on a target"),
                    ("expire_target", "Can delete backups of a target whose time is over"),
                    ("hold_target", "Can put holds on what is kept of a target, and lift them"),
                    ("restore_target", "Can restore memory_chunks from a backup"),
                ],
            },
        ),
        migrations.RemoveConstraint(model_name="run", name="run_kind_known"),
        migrations.AlterField("checklisttemplate", "kind", models.CharField(choices=KINDS, max_length=16)),
        migrations.AlterField("run", "kind", models.CharField(choices=KINDS, max_length=16)),
        migrations.AlterField(
            "run",
            "outcome",
            models.CharField(
                blank=True,
                choices=[
                    ("nothing", "Nothing was changed"),
                    ("quarantined", "Table moved to quarantine"),
                    ("dropped", "Empty table dropped"),
                    ("restored", "Table moved back"),
                    ("deployed", "Table created"),
                    ("backed up", "Verified backup made"),
                    ("verified", "Backup verified"),
                    ("purged", "Quarantined table dropped for good"),
                    ("recovered", "Table restored from a backup"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            "run",
            "subject",
            models.ForeignKey(
                blank=True,
                help_text="The backup that this run verifies or restores.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="verifications",
                to="memops_console.backup",
            ),
        ),
        migrations.AddConstraint(
            "run",
            models.CheckConstraint(
                name="run_kind_known",
                condition=Q(kind__in=["deploy", "rollback", "undo", "backup", "verify", "purge", "restore"]),
            ),
        ),
        migrations.AddConstraint(
            "run",
            models.CheckConstraint(
                name="run_restore_has_subject",
                condition=~Q(kind="restore") | Q(origin="by hand") | Q(subject__isnull=False),
            ),
        ),
        migrations.RunPython(publish, migrations.RunPython.noop),
        migrations.RunPython(give, migrations.RunPython.noop),
    ]
