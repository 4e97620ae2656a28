"""Restores: the kind of run, its outcome, who may ask for one, and its checklist."""

from typing import Any

import django.db.models.deletion
from django.contrib.auth.management import create_permissions
from django.db import migrations, models
from django.db.models import Q

from memops.console.migrations._restore_checklist import RESTORE

KINDS = [
    ("deploy", "Deploy"),
    ("rollback", "Rollback"),
    ("undo", "Undo of a rollback"),
    ("backup", "Backup"),
    ("verify", "Verification of a backup"),
    ("restore", "Restore of a backup"),
]


def publish(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    template_model = apps.get_model("memops_console", "ChecklistTemplate")
    item_model = apps.get_model("memops_console", "ChecklistItem")
    lines = [(block, line) for block, found in RESTORE.items() for line in found]
    template = template_model.objects.using(alias).create(
        kind="restore",
        version=1,
        items_total=len(lines),
        author_key="memops",
        author_name="memops",
        note="As delivered.",
    )
    for number, (block, line) in enumerate(lines, 1):
        text, told = (line, "") if isinstance(line, str) else line
        name, _, value = told.partition(": ")
        item_model.objects.using(alias).create(
            template=template, number=number, block=block, text=text, **({name: value} if name else {})
        )


def give(apps: Any, schema_editor: Any) -> None:
    """Who may ask for an undo may ask for a restore: it puts a table in place, and takes none away for good."""
    alias = schema_editor.connection.alias
    config = apps.get_app_config("memops_console")
    # Permissions are made after all migrations, and are needed here.
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0, using=alias)
    config.models_module = None
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    permission = permission_model.objects.using(alias).get(
        codename="restore_target", content_type__app_label="memops_console"
    )
    for group in group_model.objects.using(alias).filter(name="requester"):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("memops_console", "0008_audit_by_time")]

    operations = [
        migrations.AlterModelOptions(
            name="target",
            options={
                "ordering": ["alias"],
                "permissions": [
                    ("rollback_target", "Can roll back memory_chunks on a target"),
                    ("undo_target", "Can undo a rollback on a target"),
                    ("backup_target", "Can back up memory_chunks and verify backups"),
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
                condition=Q(kind__in=["deploy", "rollback", "undo", "backup", "verify", "restore"]),
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
