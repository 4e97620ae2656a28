"""Approvals, and what the database enforces of them."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("memops_console", "0004_audit"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Approval",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "requester_key",
                    models.CharField(help_text="The run's own: no approval is the requester's.", max_length=200),
                ),
                ("digest", models.CharField(help_text="The plan that was agreed to.", max_length=64)),
                (
                    "decision",
                    models.CharField(choices=[("approved", "Approved"), ("rejected", "Rejected")], max_length=16),
                ),
                ("approver_key", models.CharField(max_length=200)),
                ("approver_name", models.CharField(max_length=150)),
                ("comment", models.TextField(blank=True)),
                (
                    "decided_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_comment", models.TextField(blank=True)),
            ],
            options={
                "ordering": ["pk"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="GlassReview",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("requester_key", models.CharField(max_length=200)),
                ("reviewer_key", models.CharField(max_length=200)),
                ("reviewer_name", models.CharField(max_length=150)),
                ("note", models.TextField()),
                (
                    "reviewed_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "default_permissions": ("view",),
            },
        ),
        migrations.AlterModelOptions(
            name="run",
            options={
                "default_permissions": ("view",),
                "ordering": ["-pk"],
                "permissions": [
                    ("approve_run", "Can approve or reject what others asked for, and review what nobody approved"),
                    ("start_run", "Can start runs that are approved"),
                    ("break_glass_run", "Can start a run without its approvals"),
                ],
            },
        ),
        migrations.RemoveConstraint(
            model_name="run",
            name="run_state_known",
        ),
        migrations.RemoveConstraint(
            model_name="run",
            name="run_ended_has_time",
        ),
        migrations.RemoveConstraint(
            model_name="run",
            name="run_queued_is_unclaimed",
        ),
        migrations.AddField(
            model_name="run",
            name="approvals_needed",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="run",
            name="approver_groups",
            field=models.CharField(blank=True, help_text="Names, with a comma between.", max_length=300),
        ),
        migrations.AddField(
            model_name="run",
            name="break_glass",
            field=models.BooleanField(default=False, help_text="Started without approvals; somebody else reviews it."),
        ),
        migrations.AddField(
            model_name="run",
            name="expires_at",
            field=models.DateTimeField(blank=True, help_text="Until when it can be approved and started.", null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="incident",
            field=models.CharField(blank=True, max_length=100),
        ),
        migrations.AddField(
            model_name="run",
            name="not_before",
            field=models.DateTimeField(
                blank=True, help_text="The maintenance window in which it may begin.", null=True
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="not_after",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("not_before__isnull", True),
                    ("not_after__isnull", True),
                    ("not_after__gt", models.F("not_before")),
                    _connector="OR",
                ),
                name="run_window_in_order",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="requester_key",
            field=models.CharField(
                blank=True, editable=False, help_text="user:ID, or account:NAME from the command line.", max_length=200
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="started_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="starter_name",
            field=models.CharField(blank=True, help_text="Who started it, once it was approved.", max_length=150),
        ),
        migrations.AlterField(
            model_name="run",
            name="state",
            field=models.CharField(
                choices=[
                    ("awaiting", "Awaiting approval"),
                    ("queued", "Queued"),
                    ("running", "Running"),
                    ("done", "Done"),
                    ("failed", "Failed"),
                    ("refused", "Refused"),
                    ("interrupted", "Interrupted"),
                    ("unknown", "Unknown"),
                    ("cancelled", "Cancelled"),
                    ("rejected", "Rejected"),
                    ("withdrawn", "Withdrawn"),
                    ("expired", "Expired"),
                ],
                default="queued",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "queued",
                            "running",
                            "done",
                            "failed",
                            "refused",
                            "interrupted",
                            "unknown",
                            "cancelled",
                            "awaiting",
                            "rejected",
                            "withdrawn",
                            "expired",
                        ],
                    )
                ),
                name="run_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at__isnull", True), ("state__in", ["awaiting", "queued", "running", "unknown"])),
                    models.Q(
                        ("ended_at__isnull", False),
                        (
                            "state__in",
                            [
                                "done",
                                "failed",
                                "refused",
                                "interrupted",
                                "cancelled",
                                "rejected",
                                "withdrawn",
                                "expired",
                            ],
                        ),
                    ),
                    _connector="OR",
                ),
                name="run_ended_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["awaiting", "queued"]), _negated=True),
                    ("claimed_at__isnull", True),
                    _connector="OR",
                ),
                name="run_queued_is_unclaimed",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "awaiting"), _negated=True), ("expires_at__isnull", False), _connector="OR"
                ),
                name="run_awaits_until_some_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("break_glass", False), models.Q(("incident", ""), _negated=True), _connector="OR"),
                name="run_break_glass_has_an_incident",
            ),
        ),
        migrations.AddField(
            model_name="approval",
            name="approver",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="approvals_given",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="approval",
            name="run",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="approvals", to="memops_console.run"
            ),
        ),
        migrations.AddField(
            model_name="glassreview",
            name="reviewer",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="glassreview",
            name="run",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="glass_review", to="memops_console.run"
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(("approver_key", models.F("requester_key")), _negated=True),
                name="approval_is_not_the_requesters",
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(("decision__in", ["approved", "rejected"])), name="approval_decision_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.UniqueConstraint(
                condition=models.Q(("revoked_at__isnull", True)),
                fields=("run", "approver_key"),
                name="approval_one_a_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="glassreview",
            constraint=models.CheckConstraint(
                condition=models.Q(("reviewer_key", models.F("requester_key")), _negated=True),
                name="glass_review_is_not_the_requesters",
            ),
        ),
        migrations.RunSQL(
            (Path(__file__).parent / "approvals.sql").read_text(encoding="utf-8"),
            (Path(__file__).parent / "approvals_down.sql").read_text(encoding="utf-8"),
        ),
    ]
