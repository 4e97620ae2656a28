"""The control plane as a Django app, and the admin site that is its console."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AppConfig):
    name = "memops.console"
    label = "memops_console"
    verbose_name = "memops"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from memops.console import checks  # noqa: F401  registers the system checks
        from memops.console.audit import listeners  # noqa: F401  hears of sign-ins, and of changes to people


class ConsoleAdminConfig(AdminConfig):
    default_site = "memops.console.admin.site.ConsoleSite"

    def ready(self) -> None:
        super().ready()
        # Django's own pages of people and groups, which have been registered by now, and what memops adds to them.
        from django.contrib.admin import site
        from django.contrib.auth.models import Group, User

        from memops.console.admin.people import GroupsAdmin, PeopleAdmin

        site.unregister([User, Group])
        site.register(User, PeopleAdmin)
        site.register(Group, GroupsAdmin)
