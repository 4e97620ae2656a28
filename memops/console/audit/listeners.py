"""Events that others make: who came in and who was not let in, and what was changed about people and contacts."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, Group, Permission, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.dispatch import receiver

from memops.console.audit import record, record_or_log
from memops.console.models import Contact, Review

WATCHED: dict[type[Model], tuple[str, ...]] = {
    User: ("username", "first_name", "last_name", "email", "is_active", "is_staff", "is_superuser", "password"),
    Group: ("name",),
    Contact: ("position", "name", "role", "reached_by", "note"),
    Review: ("role", "note", "next_due"),
}
"""Which changes count. When somebody last came in is an event of its own."""

UNKNOWN = "unknown name"

UNSAID = frozenset(("password",))

BEFORE = "_audit_before"


@receiver(user_logged_in, dispatch_uid="audit sign-in")
def signed_in(user: AbstractBaseUser, **_: Any) -> None:
    """Raises AuditUnwritable: nobody comes in without a trace."""
    record("sign_in", actor=user.get_username())


@receiver(user_logged_out, dispatch_uid="audit sign-out")
def signed_out(user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        record_or_log("sign_out", actor=user.get_username())


@receiver(user_login_failed, dispatch_uid="audit failed sign-in")
def not_let_in(credentials: dict[str, Any], **_: Any) -> None:
    record_or_log("sign_in.failed", actor=known(str(credentials.get("username") or "")))


def known(name: str) -> str:
    """A name that somebody has; never what was typed instead of one, which now and then is a password."""
    return name if name.isprintable() and User.objects.filter(username=name).exists() else UNKNOWN


@receiver(pre_save, dispatch_uid="audit before a change")
def about_to_change(sender: type[Model], instance: Model, raw: bool = False, **_: Any) -> None:
    if sender in WATCHED and instance.pk and not raw:
        before = sender._base_manager.filter(pk=instance.pk).values(*WATCHED[sender]).first()
        setattr(instance, BEFORE, before)


@receiver(post_save, dispatch_uid="audit a change")
def changed(sender: type[Model], instance: Model, created: bool, update_fields: Any = None, **_: Any) -> None:
    """Raises AuditUnwritable: who may do what is not changed without a trace."""
    if sender not in WATCHED:
        return
    before = None if created else getattr(instance, BEFORE, None)
    if not created and before is None:
        return
    watched = [name for name in WATCHED[sender] if update_fields is None or name in update_fields]
    now = {name: getattr(instance, name) for name in watched}
    differs = [name for name in watched if before is None or before[name] != now[name]]
    if not differs:
        return
    record(
        f"{_kind(sender)}.{'created' if created else 'changed'}",
        object_type=_kind(sender),
        object_id=instance.pk,
        name=str(instance),
        now={name: "not shown" if name in UNSAID else _plain(now[name]) for name in differs},
        was={name: "not shown" if name in UNSAID else _plain(before[name]) for name in differs} if before else {},
    )


@receiver(post_delete, dispatch_uid="audit a deletion")
def deleted(sender: type[Model], instance: Model, **_: Any) -> None:
    """Raises AuditUnwritable."""
    if sender in WATCHED:
        record(f"{_kind(sender)}.deleted", object_type=_kind(sender), object_id=instance.pk, name=str(instance))


@receiver(m2m_changed, sender=User.groups.through, dispatch_uid="audit groups of a user")
@receiver(m2m_changed, sender=User.user_permissions.through, dispatch_uid="audit permissions of a user")
@receiver(m2m_changed, sender=Group.permissions.through, dispatch_uid="audit permissions of a group")
def given_or_taken(instance: Model, action: str, model: type[Model], pk_set: set[Any] | None, **_: Any) -> None:
    """Raises AuditUnwritable."""
    words = {"post_add": "given", "post_remove": "taken", "pre_clear": "all_taken"}
    if action not in words or (pk_set is not None and not pk_set):
        return
    what = [_name(found) for found in model._base_manager.filter(pk__in=pk_set or ()).order_by("pk")]
    record(
        f"{_kind(type(instance))}.{_kind(model)}.{words[action]}",
        object_type=_kind(type(instance)),
        object_id=instance.pk,
        name=str(instance),
        what=what,
    )


def _kind(model: type[Model]) -> str:
    return str(model._meta.model_name)


def _name(found: Model) -> str:
    return found.codename if isinstance(found, Permission) else str(found)


def _plain(value: Any) -> str | int | bool:
    return value if isinstance(value, str | int | bool) else str(value)
