"""Purges, holds and deleted backups, what the database enforces of them, the checklist and the permissions."""

from pathlib import Path
from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from memops.console.migrations._checklists import PURGE, deliver
from memops.console.migrations._groups import give_to

GROUPS: dict[str, tuple[str, ...]] = {
    "requester": ("view_hold", "purge_target", "hold_target", "expire_target"),
    "approver": ("view_hold",),
    "executor": ("view_hold",),
    "auditor": ("view_hold",),
    "administrator": ("view_hold", "hold_target"),
}


def publish(apps: Any, schema_editor: Any) -> None:
    deliver(apps, schema_editor, {"purge": PURGE})


def give(apps: Any, schema_editor: Any) -> None:
    give_to(apps, schema_editor, GROUPS)


class Migration(migrations.Migration):
    dependencies = [
        ("memops_console", "0008_audit_by_time"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Hold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("manual", "Manual hold"), ("legal", "Legal hold")], max_length=16)),
                ("reason", models.TextField()),
                ("put_by_name", models.CharField(max_length=150)),
                ("put_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("lifted_by_name", models.CharField(blank=True, max_length=150)),
                ("lifted_at", models.DateTimeField(blank=True, null=True)),
                ("lifted_reason", models.TextField(blank=True)),
            ],
            options={
                "ordering": ["pk"],
                "default_permissions": ("view",),
            },
        ),
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
                ],
            },
        ),
        migrations.RemoveConstraint(
            model_name="backup",
            name="backup_state_known",
        ),
        migrations.RemoveConstraint(
            model_name="quarantinedtable",
            name="quarantine_state_known",
        ),
        migrations.RemoveConstraint(
            model_name="quarantinedtable",
            name="quarantine_left_has_time",
        ),
        migrations.RemoveConstraint(
            model_name="run",
            name="run_kind_known",
        ),
        migrations.AddField(
            model_name="backup",
            name="deleted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="backup",
            name="deleted_by_name",
            field=models.CharField(blank=True, max_length=150),
        ),
        migrations.AddField(
            model_name="backup",
            name="deleted_reason",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="quarantinedtable",
            name="doomed_by",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                help_text="The purge that goes on to the drop: as long as it is active, a hold is late.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="memops_console.run",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="purges",
            field=models.ForeignKey(
                blank=True,
                help_text="The quarantined table that this run drops for good.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="purges",
                to="memops_console.quarantinedtable",
            ),
        ),
        migrations.AlterField(
            model_name="backup",
            name="state",
            field=models.CharField(
                choices=[
                    ("writing", "Being written"),
                    ("written", "Written, not verified"),
                    ("verified", "Verified by restore"),
                    ("failed", "Failed"),
                    ("deleting", "Being deleted"),
                    ("deleted", "Deleted"),
                ],
                default="writing",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="checklisttemplate",
            name="kind",
            field=models.CharField(
                choices=[
                    ("deploy", "Deploy"),
                    ("rollback", "Rollback"),
                    ("undo", "Undo of a rollback"),
                    ("backup", "Backup"),
                    ("verify", "Verification of a backup"),
                    ("purge", "Purge of a quarantined table"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="quarantinedtable",
            name="state",
            field=models.CharField(
                choices=[
                    ("kept", "In quarantine"),
                    ("restored", "Moved back"),
                    ("missing", "No longer there"),
                    ("purged", "Dropped for good"),
                ],
                default="kept",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="kind",
            field=models.CharField(
                choices=[
                    ("deploy", "Deploy"),
                    ("rollback", "Rollback"),
                    ("undo", "Undo of a rollback"),
                    ("backup", "Backup"),
                    ("verify", "Verification of a backup"),
                    ("purge", "Purge of a quarantined table"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="outcome",
            field=models.CharField(
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
                ],
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="backup",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["writing", "written", "verified", "failed", "deleting", "deleted"])),
                name="backup_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="backup",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("deleted_at__isnull", True),
                        ("state", "deleting"),
                        models.Q(("deleted_by_name", ""), _negated=True),
                    ),
                    models.Q(
                        ("deleted_at__isnull", False),
                        ("state", "deleted"),
                        models.Q(("deleted_by_name", ""), _negated=True),
                    ),
                    models.Q(
                        models.Q(("state__in", ["deleting", "deleted"]), _negated=True),
                        ("deleted_at__isnull", True),
                        ("deleted_by_name", ""),
                    ),
                    _connector="OR",
                ),
                name="backup_deleted_by_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantinedtable",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["kept", "restored", "missing", "purged"])),
                name="quarantine_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantinedtable",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("left_at__isnull", True), ("state", "kept")),
                    models.Q(("left_at__isnull", False), ("state__in", ["restored", "missing", "purged"])),
                    _connector="OR",
                ),
                name="quarantine_left_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["deploy", "rollback", "undo", "backup", "verify", "purge"])),
                name="run_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "purge"), _negated=True),
                    ("origin", "by hand"),
                    ("purges__isnull", False),
                    _connector="OR",
                ),
                name="run_purge_has_a_table",
            ),
        ),
        migrations.AddField(
            model_name="hold",
            name="backup",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="holds",
                to="memops_console.backup",
            ),
        ),
        migrations.AddField(
            model_name="hold",
            name="lifted_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="hold",
            name="put_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="hold",
            name="table",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="holds",
                to="memops_console.quarantinedtable",
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["manual", "legal"])), name="hold_kind_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("backup__isnull", True), ("table__isnull", False)),
                    models.Q(("backup__isnull", False), ("table__isnull", True)),
                    _connector="OR",
                ),
                name="hold_on_one_thing",
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("put_by_name", ""), _negated=True)
                ),
                name="hold_has_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lifted_at__isnull", True), ("lifted_by_name", ""), ("lifted_reason", "")),
                    models.Q(
                        ("lifted_at__isnull", False),
                        models.Q(("lifted_by_name", ""), _negated=True),
                        models.Q(("lifted_reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="hold_lifted_by_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at__isnull", True)), fields=("table", "kind"), name="hold_one_of_a_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="hold",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at__isnull", True)),
                fields=("backup", "kind"),
                name="hold_one_of_a_kind_on_a_backup",
            ),
        ),
        migrations.RunSQL(
            (Path(__file__).parent / "holds.sql").read_text(encoding="utf-8"),
            (Path(__file__).parent / "holds_down.sql").read_text(encoding="utf-8"),
        ),
        migrations.RunPython(publish, migrations.RunPython.noop),
        migrations.RunPython(give, migrations.RunPython.noop),
    ]
