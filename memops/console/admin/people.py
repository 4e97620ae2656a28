"""People: Django's own pages, with what memops adds to them: whether somebody has a second factor, and its removal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods

from memops.console import second_factor, units
from memops.console.admin import sign_in
from memops.console.admin.readable_form import ReadableForm
from memops.console.admin.record import CarefulAdmin
from memops.console.admin.second_factor import asked, prove_first
from memops.console.errors import ConsoleError, OwnSecondFactor

if TYPE_CHECKING:
    PersonAdmin = UserAdmin[User]
    NewPersonForm = AdminUserCreationForm[User]
    PersonForm = UserChangeForm[User]
else:
    PersonAdmin, NewPersonForm, PersonForm = UserAdmin, AdminUserCreationForm, UserChangeForm


class ReadableNewPersonForm(ReadableForm, NewPersonForm):
    pass


class ReadablePersonForm(ReadableForm, PersonForm):
    pass


class GroupsAdmin(CarefulAdmin, GroupAdmin):
    """Groups approve and sign: their names are in the history."""

    form = ReadableForm


class PeopleAdmin(CarefulAdmin, PersonAdmin):
    form = ReadablePersonForm
    add_form = ReadableNewPersonForm
    actions = ("remove_second_factor",)

    def get_list_display(self, request: HttpRequest) -> Any:
        more = ("has_second_factor",) if second_factor.is_required() else ()
        return (*super().get_list_display(request), *more)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        more = [("Second factor", {"fields": ("second_factor",)})] if obj and second_factor.is_required() else []
        return [*super().get_fieldsets(request, obj), *more]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), "second_factor")

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        if not second_factor.is_required():
            found.pop("remove_second_factor", None)
        return found

    @admin.display(description="Second factor")
    def has_second_factor(self, person: User) -> str:
        return "set up" if second_factor.has_one(person) else "none"

    @admin.display(description="Device")
    def second_factor(self, person: User) -> str:
        found = second_factor.standing(person)
        if found is None:
            return "None. Whoever has to have one sets it up after the next sign-in."
        url = reverse("admin:auth_user_second_factor", args=[person.pk])
        said = f"Set up {units.moment(found.since)}; {found.recovery_codes_left} recovery codes are left."
        return format_html('{} <a href="{}">Remove it…</a>', said, url)

    @admin.action(description="Remove the second factor…", permissions=["change"])
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, "Choose exactly one person. Nothing was removed.", messages.WARNING)
            return None
        return redirect("admin:auth_user_second_factor", chosen[0].pk)

    def remove_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """GET says what it means; POST does it."""
        me, person = asked(request), self.get_object(request, str(number))
        if not self.has_change_permission(request, person):
            raise PermissionDenied(
                "You lack the permission “Can change user”. A superuser can give it to you under Users."
            )
        if person is None:
            raise Http404(f"There is no user {number}.")
        if person.is_superuser and not me.is_superuser:
            raise PermissionDenied(f"{person} is a superuser: only another superuser removes their second factor.")
        back = reverse("admin:auth_user_change", args=[person.pk])
        if not sign_in.is_recent(request):
            return prove_first(request)
        if request.method == "POST":
            try:
                if person.pk == me.pk:
                    raise OwnSecondFactor()
                second_factor.remove(person, by=me.get_username())
            except ConsoleError as error:
                messages.error(request, str(error))
            else:
                messages.success(
                    request, f"The second factor of {person} is removed. They set one up at the next sign-in."
                )
            return redirect(back)
        context = self.admin_site.each_context(request) | {
            "title": f"Remove the second factor of {person}",
            "person": person,
            "standing": second_factor.standing(person),
            "is_own": person.pk == me.pk,
            "back": back,
        }
        return TemplateResponse(request, "memops_console/second_factor/remove.html", context)

    def get_urls(self) -> list[URLPattern]:
        view = require_http_methods(["GET", "HEAD", "POST"])(self.remove_view)
        page = path("<int:number>/second-factor/", self.admin_site.admin_view(view), name="auth_user_second_factor")
        return [page, *super().get_urls()]
