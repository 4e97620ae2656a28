"""Records of the console are written by runs alone: in the admin they are lists and pages to read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class CarefulAdmin(ModelAdmin):
    """Django ends with an error of the server where what is asked for is no number, no field, no day."""

    LOOKUPS = frozenset(("exact", "isnull", "gte", "lt", "year", "month", "day"))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """By the filters that the list shows; one of one's own could be a regular expression that is none."""
        filters: Iterable[Any] = self.get_list_filter(request)
        shown = {self.date_hierarchy, *(found if isinstance(found, str) else found[0] for found in filters)}
        name, _, kind = lookup.partition("__")
        known = name in shown and kind.rpartition("__")[2] in self.LOOKUPS
        return known and super().lookup_allowed(lookup, value, request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            return super().changelist_view(request, extra_context)
        except OverflowError:  # A year that no calendar has; what else is wrong Django answers so itself.
            return redirect(f"{request.path}?{ERROR_FLAG}=1")

    def response_action(self, request: HttpRequest, *queryset: Any, **more: Any) -> HttpResponse | None:
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.to_python(chosen)
            except ValidationError as error:
                raise BadRequest("What was chosen in the list is none of its rows.") from error
        return super().response_action(request, *queryset, **more)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None)


class TitledAdmin(CarefulAdmin):
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
        self.demand_view(request)
        return self.demand_view_of(request, key, self.get_object(request, str(key)))

    def demand_view(self, request: HttpRequest) -> None:
        """Before anything is read. Raises PermissionDenied."""
        if not self.has_view_permission(request):
            raise PermissionDenied(f"You lack the permission “Can view {self.opts.verbose_name}”.")

    def demand_view_of(self, request: HttpRequest, key: Any, found: Model | None) -> Model:
        """The record that was found. Raises Http404, PermissionDenied."""
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} {key}.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied(f"You lack the permission to see this {self.opts.verbose_name}.")
        return found
