"""The console itself: which pages it has, and what stands on the first one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.db.models import Model
from django.db.models.base import ModelBase
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path

from memops.console import second_factor
from memops.console.admin import offers
from memops.console.admin import second_factor as second_factor_pages
from memops.console.admin.audit import AuditEventAdmin
from memops.console.admin.backup import BackupAdmin
from memops.console.admin.checklist_template import ChecklistTemplateAdmin
from memops.console.admin.environment import environment
from memops.console.admin.procedure import ContactAdmin, ReviewAdmin
from memops.console.admin.quarantine import QuarantinedTableAdmin
from memops.console.admin.queue import queue_page
from memops.console.admin.run import RunAdmin
from memops.console.admin.sign_in import SignInForm
from memops.console.admin.target import TargetAdmin
from memops.console.models import AuditEvent, Backup, ChecklistTemplate, Contact, QuarantinedTable, Review, Run, Target
from memops.console.runs import approvals, checklists, queue
from memops.console.runs.listing import listed
from memops.console.runs.overview import overviews
from memops.console.runs.procedure import procedure

REFUSED = ("django_q", "otp_static", "otp_totp")
"""Apps whose own admin pages must not exist: whoever may add a schedule of django-q2 can execute any code, and those of
django-otp show the secrets of other people's devices."""

LATEST = 8


class ConsoleSite(AdminSite):
    """Django's admin, with the pages of memops in it and those of the queue kept out."""

    site_header = "memops"
    site_title = "memops"
    index_title = "Targets"
    site_url = None
    enable_nav_sidebar = False
    login_form = SignInForm

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.register(Target, TargetAdmin)
        self.register(Run, RunAdmin)
        self.register(Backup, BackupAdmin)
        self.register(QuarantinedTable, QuarantinedTableAdmin)
        self.register(Contact, ContactAdmin)
        self.register(Review, ReviewAdmin)
        self.register(AuditEvent, AuditEventAdmin)
        self.register(ChecklistTemplate, ChecklistTemplateAdmin)

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """As in Django, except that models of a refused app are passed over, whoever registers them."""
        models = [model_or_iterable] if isinstance(model_or_iterable, ModelBase) else list(model_or_iterable)
        admitted = [model for model in models if model._meta.app_label not in REFUSED]
        super().register(admitted, admin_class, **options)

    def get_urls(self) -> list[URLResolver | URLPattern]:
        def queue_view(request: HttpRequest) -> HttpResponse:
            return queue_page(request, self)

        return [
            path("memops_console/queue/", self.admin_view(queue_view), name="memops_console_queue"),
            *second_factor_pages.urls(self),
            *super().get_urls(),
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return super().each_context(request) | {
            "site_environment": environment("default"),
            "memops_version": settings.MEMOPS_VERSION,
            "second_factor_is_required": second_factor.is_required(),
        }

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The state of every target at a glance, as far as this person may see it."""
        context: dict[str, Any] = {}
        if request.user.has_perm("memops_console.view_target"):
            context["cards"] = [(seen, offers.for_target(request.user, seen)) for seen in overviews()]
        if request.user.has_perm("memops_console.view_run"):
            context["queue"] = queue.state()
            context["awaiting"] = approvals.awaiting()
            context["unreviewed"] = [(run, approvals.is_overdue(run)) for run in approvals.unreviewed()]
            unclosed = checklists.unclosed()
            context["unclosed"] = [(run, checklists.words(run)) for run in unclosed[:LATEST]]
            context["unclosed_more"] = unclosed.count() - len(context["unclosed"])
            context["procedure"] = procedure()
            context["runs"] = listed(Run.objects.all())[:LATEST]
        return super().index(request, context | (extra_context or {}))
