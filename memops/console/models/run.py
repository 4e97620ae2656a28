"""A run: what was asked for, what was planned, what each step saw, and how it ended."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now
from django.urls import reverse

from memops.console.models.plans import Plan
from memops.console.models.target import Target


class Run(models.Model):
    """Everything the console does to a target, and what was done to it behind the console's back."""

    class Kind(models.TextChoices):
        DEPLOY = "deploy", "Deploy"
        ROLLBACK = "rollback", "Rollback"
        UNDO = "undo", "Undo of a rollback"
        BACKUP = "backup", "Backup"
        VERIFY = "verify", "Verification of a backup"
        PURGE = "purge", "Purge of a quarantined table"
        RESTORE = "restore", "Restore of a backup"

    class State(models.TextChoices):
        AWAITING = "awaiting", "Awaiting approval"
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        REFUSED = "refused", "Refused"
        INTERRUPTED = "interrupted", "Interrupted"
        UNKNOWN = "unknown", "Unknown"
        CANCELLED = "cancelled", "Cancelled"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"
        EXPIRED = "expired", "Expired"

    class Origin(models.TextChoices):
        CONSOLE = "console", "Console"
        COMMAND = "command", "Command line"
        BY_HAND = "by hand", "By hand"

    class Outcome(models.TextChoices):
        """What the target's own records say has happened to the table."""

        NOTHING = "nothing", "Nothing was changed"
        QUARANTINED = "quarantined", "Table moved to quarantine"
        DROPPED = "dropped", "Empty table dropped"
        RESTORED = "restored", "Table moved back"
        DEPLOYED = "deployed", "Table created"
        BACKED_UP = "backed up", "Verified backup made"
        VERIFIED = "verified", "Backup verified"
        PURGED = "purged", "Quarantined table dropped for good"
        RECOVERED = "recovered", "Table restored from a backup"

    ACTIVE = (State.QUEUED, State.RUNNING, State.UNKNOWN)
    """One of these a target. Any number may await approval meanwhile."""

    key = models.UUIDField(
        default=uuid.uuid4, unique=True, editable=False, help_text="What stands for this run in a target's journal."
    )
    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="runs")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    emergency = models.BooleanField(default=False, help_text="Backup and verification after the rollback, not before.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    origin = models.CharField(max_length=16, choices=Origin.choices)
    plan = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of what the plan was made for.")
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    requester_name = models.CharField(max_length=150, blank=True)
    requester_key = models.CharField(
        max_length=200, blank=True, editable=False, help_text="user:ID, or account:NAME from the command line."
    )
    approvals_needed = models.PositiveSmallIntegerField(default=0)
    approver_groups = models.CharField(max_length=300, blank=True, help_text="Names, with a comma between.")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Until when it can be approved and started.")
    not_before = models.DateTimeField(null=True, blank=True, help_text="The maintenance window in which it may begin.")
    not_after = models.DateTimeField(null=True, blank=True)
    break_glass = models.BooleanField(default=False, help_text="Started without approvals; somebody else reviews it.")
    incident = models.CharField(max_length=100, blank=True)
    starter_name = models.CharField(max_length=150, blank=True, help_text="Who started it, once it was approved.")
    started_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True)
    nonce = models.CharField(  # noqa: DJ001  unique where there is one; a run from the command line has none
        max_length=64, null=True, unique=True, editable=False
    )
    undoes = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by")
    subject = models.ForeignKey(
        "memops_console.Backup",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="verifications",
        help_text="The backup that this run verifies or restores.",
    )
    purges = models.ForeignKey(
        "memops_console.QuarantinedTable",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="purges",
        help_text="The quarantined table that this run drops for good.",
    )
    checklist = models.ForeignKey(
        "memops_console.ChecklistTemplate",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="runs",
        help_text="The newest version when it was requested: the database puts it here (checklists.sql).",
    )
    requested_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=200, blank=True, help_text="Host and process that claimed it.")
    xid = models.CharField(max_length=24, blank=True, help_text="Transaction of the change on the target.")
    outcome = models.CharField(max_length=16, choices=Outcome.choices, blank=True)
    error = models.TextField(blank=True)
    server = models.CharField(max_length=80, blank=True, help_text="System identifier and oid of the target database.")
    journal_entry = models.BigIntegerField(null=True, blank=True, help_text="Entry in the target's own journal.")

    class Meta:
        ordering = ["-pk"]
        default_permissions = ("view",)
        permissions = [
            ("approve_run", "Can approve or reject what others asked for, and review what nobody approved"),
            ("start_run", "Can start runs that are approved"),
            ("break_glass_run", "Can start a run without its approvals"),
        ]
        constraints = [
            models.CheckConstraint(
                name="run_state_known",
                condition=Q(
                    state__in=[
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
                    ]
                ),
            ),
            models.CheckConstraint(
                name="run_kind_known",
                condition=Q(kind__in=["deploy", "rollback", "undo", "backup", "verify", "purge", "restore"]),
            ),
            models.CheckConstraint(
                name="run_ended_has_time",
                condition=Q(state__in=["awaiting", "queued", "running", "unknown"], ended_at__isnull=True)
                | Q(
                    state__in=[
                        "done",
                        "failed",
                        "refused",
                        "interrupted",
                        "cancelled",
                        "rejected",
                        "withdrawn",
                        "expired",
                    ],
                    ended_at__isnull=False,
                ),
            ),
            models.CheckConstraint(
                name="run_queued_is_unclaimed",
                condition=~Q(state__in=["awaiting", "queued"]) | Q(claimed_at__isnull=True),
            ),
            models.CheckConstraint(
                name="run_awaits_until_some_time", condition=~Q(state="awaiting") | Q(expires_at__isnull=False)
            ),
            models.CheckConstraint(
                name="run_break_glass_has_an_incident", condition=Q(break_glass=False) | ~Q(incident="")
            ),
            models.CheckConstraint(
                name="run_window_in_order",
                condition=Q(not_before__isnull=True) | Q(not_after__isnull=True) | Q(not_after__gt=F("not_before")),
            ),
            models.CheckConstraint(
                name="run_times_in_order",
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("requested_at")),
            ),
            models.CheckConstraint(
                name="run_undo_undoes", condition=~Q(kind="undo") | Q(origin="by hand") | Q(undoes__isnull=False)
            ),
            models.CheckConstraint(
                name="run_verify_has_subject", condition=~Q(kind="verify") | Q(subject__isnull=False)
            ),
            models.CheckConstraint(
                name="run_purge_has_a_table",
                condition=~Q(kind="purge") | Q(origin="by hand") | Q(purges__isnull=False),
            ),
            models.CheckConstraint(
                name="run_restore_has_subject",
                condition=~Q(kind="restore") | Q(origin="by hand") | Q(subject__isnull=False),
            ),
            models.UniqueConstraint(
                name="run_one_active_per_target",
                fields=["target"],
                condition=Q(state__in=["queued", "running", "unknown"]),
            ),
            models.UniqueConstraint(
                name="run_one_per_journal_entry",
                fields=["target", "server", "journal_entry"],
                condition=Q(journal_entry__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"Run {self.pk}: {self.title.lower()} on {self.target_id}"

    def get_absolute_url(self) -> str:
        return reverse("admin:memops_console_run_change", args=[self.pk])

    @property
    def title(self) -> str:
        kind = self.get_kind_display()
        if self.origin == Run.Origin.BY_HAND:
            return f"{kind} by hand"
        return f"Emergency {kind.lower()}" if self.emergency else kind

    @property
    def is_active(self) -> bool:
        return self.state in Run.ACTIVE

    @property
    def is_open(self) -> bool:
        """Will anything happen to it yet?"""
        return self.is_active or self.state == Run.State.AWAITING

    @property
    def window(self) -> str:
        """When it may begin, in words; empty where that is any time."""
        ends = ((word, when) for word, when in (("from", self.not_before), ("to", self.not_after)) if when is not None)
        return " ".join(f"{word} {when:%Y-%m-%d %H:%M} UTC" for word, when in ends)

    @property
    def took(self) -> timedelta | None:
        """From claim, or request where nobody had to claim it, to end."""
        return self.ended_at - (self.claimed_at or self.requested_at) if self.ended_at else None

    def planned(self) -> Plan:
        return Plan.from_json(self.plan)

    def saw(self, step: str) -> dict[str, Any]:
        """What a step of this run recorded, or nothing if it has not ended."""
        found = self.steps.filter(name=step).exclude(saw={}).values_list("saw", flat=True).first()
        return found or {}

    @property
    def ended_sessions(self) -> list[dict[str, Any]]:
        """The idle sessions that it has ended, since they held the table and its plan says so."""
        return [one for step in self.steps.all() for one in step.ended_sessions]


RUN_ENDS = Greatest(Now(), F("requested_at"), F("claimed_at"))
STEP_ENDS = Greatest(Now(), F("started_at"))
"""The database's clock may have been set back meanwhile: nothing ends before it began."""


class Step(models.Model):
    """One thing that a run does."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        SKIPPED = "skipped", "Not needed"
        FAILED = "failed", "Failed"
        INTERRUPTED = "interrupted", "Interrupted"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=32)
    title = models.CharField(max_length=120)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    saw = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    log = models.TextField(blank=True)
    error = models.TextField(blank=True)
    progress_done = models.BigIntegerField(null=True, blank=True)
    progress_total = models.BigIntegerField(null=True, blank=True)
    progress_unit = models.CharField(max_length=16, blank=True, help_text="bytes or rows")

    class Meta:
        ordering = ["run", "position"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(name="step_position_once", fields=["run", "position"]),
            models.UniqueConstraint(name="step_name_once", fields=["run", "name"]),
            models.CheckConstraint(
                name="step_state_known",
                condition=Q(state__in=["waiting", "running", "done", "skipped", "failed", "interrupted"]),
            ),
            models.CheckConstraint(
                name="step_ended_has_time",
                condition=Q(state__in=["waiting", "running"], ended_at__isnull=True)
                | Q(state__in=["done", "skipped", "failed", "interrupted"], ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.get_state_display().lower()})"

    @property
    def took(self) -> timedelta | None:
        return self.ended_at - self.started_at if self.started_at and self.ended_at else None

    @property
    def ended_sessions(self) -> list[dict[str, Any]]:
        return [one for one in self.saw.get("idle_sessions", []) if one.get("ended")]

    @property
    def percent(self) -> int | None:
        """How much is done, where it is known how much there is to do."""
        if self.state == Step.State.DONE:
            return 100
        if not self.progress_total or self.progress_done is None:
            return None
        return min(99, 100 * self.progress_done // self.progress_total)
