"""Checklists, sign-offs and closings, what the database enforces of them, and the first version of each checklist."""

from pathlib import Path
from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from memops.console.migrations._checklists import CHECKLISTS, deliver
from memops.console.migrations._groups import give_to

SEE = ("view_checklisttemplate", "view_signoff", "view_runclosing")
ROLES = ("DBA", "DevOps lead", "Security", "Architecture")
SEE_RUNS = ("view_run", "view_step", "view_target", "view_backup", "view_quarantinedtable")
GROUPS = {
    "requester": (*SEE, "sign_checklist"),
    "approver": (*SEE, "sign_checklist", "close_run"),
    "executor": (*SEE, "sign_checklist", "close_run"),
    "auditor": SEE,
    "administrator": (*SEE, "publish_checklisttemplate"),
    **dict.fromkeys(ROLES, (*SEE, *SEE_RUNS, "sign_checklist")),
}


def publish(apps: Any, schema_editor: Any) -> None:
    deliver(apps, schema_editor, CHECKLISTS)


def give(apps: Any, schema_editor: Any) -> None:
    give_to(apps, schema_editor, GROUPS)


class Migration(migrations.Migration):
    dependencies = [
        ("memops_console", "0006_groups"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ChecklistTemplate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("deploy", "Deploy"),
                            ("rollback", "Rollback"),
                            ("undo", "Undo of a rollback"),
                            ("backup", "Backup"),
                            ("verify", "Verification of a backup"),
                        ],
                        max_length=16,
                    ),
                ),
                ("version", models.PositiveIntegerField()),
                (
                    "items_total",
                    models.PositiveSmallIntegerField(help_text="How many items it has: no item comes to it later."),
                ),
                ("author_key", models.CharField(max_length=200)),
                ("author_name", models.CharField(max_length=150)),
                ("note", models.TextField(blank=True)),
                (
                    "published_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "author",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "checklist",
                "ordering": ["kind", "-version"],
                "permissions": [("publish_checklisttemplate", "Can publish new versions of the checklists")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="ChecklistItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveSmallIntegerField()),
                ("block", models.CharField(max_length=120)),
                ("text", models.CharField(max_length=300)),
                (
                    "machine",
                    models.CharField(
                        blank=True, help_text="Name of a machine check; empty: a person signs.", max_length=40
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        blank=True, help_text="The group whose members alone may sign it.", max_length=150
                    ),
                ),
                ("required", models.BooleanField(default=True)),
                (
                    "template",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="memops_console.checklisttemplate",
                    ),
                ),
            ],
            options={
                "ordering": ["template", "number"],
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="run",
            name="checklist",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                help_text="The newest version when it was requested: the database puts it here (checklists.sql).",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="runs",
                to="memops_console.checklisttemplate",
            ),
        ),
        migrations.CreateModel(
            name="RunClosing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("decision", models.CharField(choices=[("closed", "Closed"), ("reopened", "Reopened")], max_length=16)),
                ("person_key", models.CharField(max_length=200)),
                ("person_name", models.CharField(max_length=150)),
                ("note", models.TextField(blank=True)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "person",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="closings", to="memops_console.run"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "permissions": [("close_run", "Can close runs whose checklist is signed")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="SignOff",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "decision",
                    models.CharField(
                        choices=[
                            ("passed", "Ticked by evidence"),
                            ("failed", "Not proved"),
                            ("signed", "Signed"),
                            ("not_applicable", "Not applicable"),
                            ("accepted", "Accepted without evidence"),
                            ("reopened", "Reopened"),
                        ],
                        max_length=16,
                    ),
                ),
                ("signer_key", models.CharField(max_length=200)),
                ("signer_name", models.CharField(max_length=150)),
                ("role", models.CharField(blank=True, help_text="A group that the signer was in.", max_length=150)),
                ("note", models.TextField(blank=True, help_text="The evidence, the note, or the reason.")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "item",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="signoffs",
                        to="memops_console.checklistitem",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="signoffs", to="memops_console.run"
                    ),
                ),
                (
                    "signer",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "permissions": [
                    ("sign_checklist", "Can sign off items of a run's checklist, set them aside and reopen them")
                ],
                "default_permissions": ("view",),
            },
        ),
        migrations.AddConstraint(
            model_name="checklisttemplate",
            constraint=models.UniqueConstraint(fields=("kind", "version"), name="checklist_version_once"),
        ),
        migrations.AddConstraint(
            model_name="checklisttemplate",
            constraint=models.CheckConstraint(
                condition=models.Q(("items_total__gte", 1), ("version__gte", 1)), name="checklist_counts_from_1"
            ),
        ),
        migrations.AddConstraint(
            model_name="checklistitem",
            constraint=models.UniqueConstraint(fields=("template", "number"), name="checklist_item_number_once"),
        ),
        migrations.AddConstraint(
            model_name="checklistitem",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("text", ""), _negated=True), models.Q(("block", ""), _negated=True)),
                name="checklist_item_says_something",
            ),
        ),
        migrations.AddConstraint(
            model_name="checklistitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("machine", ""), ("role", ""), _connector="OR"),
                name="checklist_item_machine_has_no_role",
            ),
        ),
        migrations.AddConstraint(
            model_name="runclosing",
            constraint=models.CheckConstraint(
                condition=models.Q(("decision__in", ["closed", "reopened"])), name="closing_decision_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="runclosing",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("person_key", ""), _negated=True), models.Q(("person_name", ""), _negated=True)
                ),
                name="closing_is_somebodys",
            ),
        ),
        migrations.AddConstraint(
            model_name="signoff",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("decision__in", ["passed", "failed", "signed", "not_applicable", "accepted", "reopened"])
                ),
                name="signoff_decision_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="signoff",
            constraint=models.CheckConstraint(
                condition=models.Q(("decision", "signed"), ("note__regex", "[^[:space:]]"), _connector="OR"),
                name="signoff_has_a_reason",
            ),
        ),
        migrations.AddIndex(
            model_name="signoff",
            index=models.Index(fields=["run", "item", "id"], name="signoff_newest"),
        ),
        migrations.RunSQL(
            (Path(__file__).parent / "checklists.sql").read_text(encoding="utf-8"),
            (Path(__file__).parent / "checklists_down.sql").read_text(encoding="utf-8"),
        ),
        migrations.RunPython(publish, migrations.RunPython.noop),
        migrations.RunPython(give, migrations.RunPython.noop),
    ]
