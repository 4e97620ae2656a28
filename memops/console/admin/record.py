"""Records of the console are written by runs alone: in the admin they are lists and pages to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class TitledAdmin(ModelAdmin):
    """A list that says what it is."""

    list_title = ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"title": self.list_title} | (extra_context or {})
        return super().changelist_view(request, context)


class RecordAdmin(TitledAdmin):
    """A list with filters and search, and a page of our own for each record."""

    show_full_result_count = False
    list_per_page = 50
    actions_selection_counter = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self.page(request, self.seen(request, unquote(object_id)))

    def page(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """The page of one record."""
        raise Http404

    def seen(self, request: HttpRequest, key: Any) -> Any:
        """The record, if there is one and this person may see it."""
        if not self.has_view_permission(request):
            raise PermissionDenied(f"You lack the permission “Can view {self.opts.verbose_name}”.")
        found: Model | None = self.get_object(request, str(key))
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} {key}.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied(f"You lack the permission to see this {self.opts.verbose_name}.")
        return found
