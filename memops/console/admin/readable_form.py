"""Forms whose texts show as what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from memops.console import characters
from memops.console.runs.request import LONGEST_REASON

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm


class ReadableForm(ModelForm):
    """What is typed is read aloud at three in the morning, and called by its name on a terminal. Passwords are not."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name, value in list(cleaned.items()):
            widget = self.fields[name].widget if name in self.fields else None
            if not isinstance(value, str) or isinstance(widget, forms.PasswordInput):
                continue
            if isinstance(widget, forms.Textarea) and len(value) > LONGEST_REASON:
                self.add_error(name, ValidationError(f"It has {len(value)} characters; {LONGEST_REASON} are kept."))
            elif hidden := characters.hidden(value, lines=isinstance(widget, forms.Textarea)):
                self.add_error(name, ValidationError(f"It has characters that do not show: {hidden}."))
        return cleaned
