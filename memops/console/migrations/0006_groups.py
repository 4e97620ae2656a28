"""The groups that people are put into. What a group may do can be changed afterwards; this makes it once."""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

SEE = (
    "view_approval", "view_backup", "view_contact", "view_glassreview", "view_quarantinedtable", "view_review",
    "view_run", "view_step", "view_target",
)  # fmt: skip
GROUPS = {
    "requester": (*SEE, "rollback_target", "undo_target", "backup_target"),
    "approver": (*SEE, "approve_run"),
    "executor": (*SEE, "start_run"),
    "auditor": (*SEE, "view_auditevent", "verify_auditevent", "export_auditevent"),
    "administrator": (
        *SEE, "add_contact", "change_contact", "delete_contact", "add_review", "view_user", "add_user", "change_user",
        "view_group", "change_group",
    ),
}  # fmt: skip


def make(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    for label in ("auth", "memops_console"):
        config = apps.get_app_config(label)
        # Permissions are made after all migrations, and are needed here.
        config.models_module = True
        create_permissions(config, apps=apps, verbosity=0, using=alias)
        config.models_module = None
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GROUPS.items():
        group, _ = group_model.objects.using(alias).get_or_create(name=name)
        found = permission_model.objects.using(alias).filter(
            codename__in=codenames, content_type__app_label__in=("auth", "memops_console")
        )
        group.permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [("memops_console", "0005_approvals"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
