"""The queue page: is anybody there to work, and what waits. It reads; the queue's own admin is not reachable."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from memops.console.models import Run
from memops.console.runs import queue
from memops.console.runs.listing import listed

LATEST = 10


@require_safe
def queue_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    if not request.user.has_perm("memops_console.view_run"):
        raise PermissionDenied("You lack the permission “Can view run”.")
    context = site.each_context(request) | {
        "title": "Queue",
        "queue": queue.state(),
        "running": listed(Run.objects.filter(state=Run.State.RUNNING)),
        "ended": listed(Run.objects.filter(ended_at__isnull=False)).order_by("-ended_at")[:LATEST],
    }
    return TemplateResponse(request, "memops_console/queue/page.html", context)
