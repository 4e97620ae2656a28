"""The data plane as a Django app."""

from django.apps import AppConfig


class MemopsConfig(AppConfig):
    name = "memops"
    label = "memops"
    verbose_name = "Memory"
    default_auto_field = "django.db.models.BigAutoField"
