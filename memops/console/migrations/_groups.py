"""Give permissions of the console to groups, which are made where there are none."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management import create_permissions


def give_to(apps: Any, schema_editor: Any, groups: dict[str, tuple[str, ...]]) -> None:
    """``groups``: the code names of permissions, by name of a group."""
    alias = schema_editor.connection.alias
    config = apps.get_app_config("memops_console")
    # Permissions are made after all migrations, and are needed here.
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0, using=alias)
    config.models_module = None
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in groups.items():
        group, _ = group_model.objects.using(alias).get_or_create(name=name)
        found = permission_model.objects.using(alias).filter(
            codename__in=codenames, content_type__app_label="memops_console"
        )
        group.permissions.add(*found)
