"""Contacts, and reviews of the procedure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from memops.console import units
from memops.console.admin.readable_form import ReadableForm
from memops.console.admin.record import TitledAdmin
from memops.console.models import Review

LONGEST_INTERVAL = timedelta(days=731)


class ContactAdmin(TitledAdmin):
    """The list that people call down, from the first to the last."""

    list_title = "Whom to call"
    form = ReadableForm
    list_display = ("position", "name", "role", "reached_by", "note")
    list_display_links = ("name",)
    search_fields = ("name", "role")
    search_help_text = "Search for a name or a role."


class ReviewForm(ReadableForm):
    def clean_next_due(self) -> Any:
        due, today = self.cleaned_data["next_due"], timezone.now().date()
        if not today < due <= today + LONGEST_INTERVAL:
            raise ValidationError("The next review has to be due after today, and within two years.")
        return due


class ReviewAdmin(TitledAdmin):
    """Whoever adds one signs it. It cannot be changed, nor taken back; a newer one takes its place."""

    list_title = "Reviews of the procedure"
    form = ReviewForm
    list_display = ("approved", "approver_name", "role", "next_due", "note")
    fields = ("role", "note", "next_due")
    formfield_overrides = {models.TextField: {"widget": forms.Textarea(attrs={"rows": 3})}}

    @admin.display(description="Approved", ordering="approved_at")
    def approved(self, review: Review) -> str:
        return units.moment(review.approved_at)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "title": "Sign a review of the procedure",
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
        }
        return super().add_view(request, form_url, context | (extra_context or {}))

    def has_change_permission(self, request: HttpRequest, obj: Review | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Review | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Review, form: Any, change: bool) -> None:
        assert isinstance(request.user, User)
        obj.approved_by, obj.approver_name = request.user, request.user.get_username()
        super().save_model(request, obj, form, change)
