"""What has to be true before a run is closed, who said so, and who closed it. checklists.sql enforces it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse

from memops.console.models.run import Run


class ChecklistTemplate(models.Model):
    """One version of the checklist of a kind of run. Never changed once published: a change is the next version."""

    kind = models.CharField(max_length=16, choices=Run.Kind.choices)
    version = models.PositiveIntegerField()
    items_total = models.PositiveSmallIntegerField(help_text="How many items it has: no item comes to it later.")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    author_key = models.CharField(max_length=200)
    author_name = models.CharField(max_length=150)
    note = models.TextField(blank=True)
    published_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = "checklist"
        ordering = ["kind", "-version"]
        default_permissions = ("view",)
        permissions = [("publish_checklisttemplate", "Can publish new versions of the checklists")]
        constraints = [
            models.UniqueConstraint(name="checklist_version_once", fields=["kind", "version"]),
            models.CheckConstraint(name="checklist_counts_from_1", condition=Q(version__gte=1, items_total__gte=1)),
        ]

    def __str__(self) -> str:
        return f"Checklist of a {self.kind}, version {self.version}"

    def get_absolute_url(self) -> str:
        return reverse("admin:memops_console_checklisttemplate_change", args=[self.pk])


class ChecklistItem(models.Model):
    """One line of a checklist: ticked by a machine check, or signed by a person."""

    template = models.ForeignKey(ChecklistTemplate, on_delete=models.PROTECT, related_name="items")
    number = models.PositiveSmallIntegerField()
    block = models.CharField(max_length=120)
    text = models.CharField(max_length=300)
    machine = models.CharField(max_length=40, blank=True, help_text="Name of a machine check; empty: a person signs.")
    role = models.CharField(max_length=150, blank=True, help_text="The group whose members alone may sign it.")
    required = models.BooleanField(default=True)

    class Meta:
        ordering = ["template", "number"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="checklist_item_number_once", fields=["template", "number"]),
            models.CheckConstraint(name="checklist_item_says_something", condition=~Q(text="") & ~Q(block="")),
            models.CheckConstraint(name="checklist_item_machine_has_no_role", condition=Q(machine="") | Q(role="")),
        ]

    def __str__(self) -> str:
        return f"{self.number}. {self.text}"


class SignOff(models.Model):
    """What somebody, or a machine check, said of one item of a run's checklist. The newest is what holds."""

    class Decision(models.TextChoices):
        PASSED = "passed", "Ticked by evidence"
        FAILED = "failed", "Not proved"
        SIGNED = "signed", "Signed"
        NOT_APPLICABLE = "not_applicable", "Not applicable"
        ACCEPTED = "accepted", "Accepted without evidence"
        REOPENED = "reopened", "Reopened"

    SETTLED = (Decision.PASSED, Decision.SIGNED, Decision.NOT_APPLICABLE, Decision.ACCEPTED)
    MACHINE = "memops"
    """The key and name under which machine checks tick."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="signoffs")
    item = models.ForeignKey(ChecklistItem, on_delete=models.PROTECT, related_name="signoffs")
    decision = models.CharField(max_length=16, choices=Decision.choices)
    signer = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    signer_key = models.CharField(max_length=200)
    signer_name = models.CharField(max_length=150)
    role = models.CharField(max_length=150, blank=True, help_text="A group that the signer was in.")
    note = models.TextField(blank=True, help_text="The evidence, the note, or the reason.")
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["pk"]
        default_permissions = ("view",)
        indexes = [models.Index(name="signoff_newest", fields=["run", "item", "id"])]
        permissions = [("sign_checklist", "Can sign off items of a run's checklist, set them aside and reopen them")]
        constraints = [
            models.CheckConstraint(
                name="signoff_decision_known",
                condition=Q(decision__in=["passed", "failed", "signed", "not_applicable", "accepted", "reopened"]),
            ),
            models.CheckConstraint(
                name="signoff_has_a_reason", condition=Q(decision="signed") | Q(note__regex=r"[^[:space:]]")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_decision_display()} by {self.signer_name}"

    @property
    def is_machine(self) -> bool:
        return self.signer_key == SignOff.MACHINE


class RunClosing(models.Model):
    """A run was closed, or reopened by somebody who reopened an item. The newest is what holds."""

    class Decision(models.TextChoices):
        CLOSED = "closed", "Closed"
        REOPENED = "reopened", "Reopened"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="closings")
    decision = models.CharField(max_length=16, choices=Decision.choices)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    person_key = models.CharField(max_length=200)
    person_name = models.CharField(max_length=150)
    note = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["pk"]
        default_permissions = ("view",)
        permissions = [("close_run", "Can close runs whose checklist is signed")]
        constraints = [
            models.CheckConstraint(name="closing_decision_known", condition=Q(decision__in=["closed", "reopened"])),
            models.CheckConstraint(name="closing_is_somebodys", condition=~Q(person_key="") & ~Q(person_name="")),
        ]

    def __str__(self) -> str:
        return f"{self.get_decision_display()} by {self.person_name}"
