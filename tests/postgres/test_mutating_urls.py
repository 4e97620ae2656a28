"""Every address of the console that can change something changes nothing by GET, for strangers, for people without the
permission or with the right to look alone, before the code, with a forged form, or a second time.

A page that is added is classified here, or the first test fails and names it: ``MUTATING`` says how it is sent so that
it does something; ``READS`` are pages that change nothing, whoever sends them what; ``OWN_SESSION`` concern the sender.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.oath import TOTP
from django_q.models import OrmQ

from memops import demo
from memops.console import second_factor
from memops.console.admin.second_factor import PENDING
from memops.console.models import AuditEvent, Backup, Contact, Hold, QuarantinedTable, Review, Run, Step
from memops.console.runs import approvals, checklist_templates, checklists, holds, signing, targets
from memops.console.runs.overview import overviews
from memops.console.runs.request import cancel
from project.private import make_folder
from tests.postgres.people import ONE, PASSWORD, as_requester, person, request_backup, verified_backup

UNCOUNTED = ("django_session", "axes_%", "audit_event", "memops_cache")
"""What every request may write: who came and who was refused."""

WRONG_TOKEN = "w" * 64
NEW_PASSWORD = "another correct horse"


def code_of(key: str) -> str:
    totp = TOTP(bytes.fromhex(key))
    totp.time = time.time()
    return f"{totp.token():06}"


@dataclass
class Act:
    """A request that does something when ``olga`` sends it."""

    url: str
    data: dict[str, Any] = field(default_factory=dict)
    event: str = ""
    """Where all that it does is an event of the audit trail."""
    is_once: bool = True
    """Is the same request a second time without effect?"""


class Scene:
    """A console with something of everything in it, and ``olga``, who may do all of it and has proved who she is."""

    def __init__(self) -> None:
        demo.load("default", rows=20, tenants=3)
        targets.sync()
        overviews()
        self.rita, self.ann = person("rita", "requester", "executor"), person("ann", "approver")
        self.zoe = person("zoe", "approver")
        self.olga = person("olga", "approver", password=PASSWORD)
        self.olga.is_superuser = True
        self.olga.save()
        self.contact = Contact.objects.create(position=1, name="Bea", role="DBA", reached_by="5551")
        self.group = Group.objects.create(name="night shift")
        key = second_factor.new_key()
        self.device, _ = second_factor.set_up(self.olga, key=key, typed=code_of(key), may_replace=True)
        self.browser = self.signed_in(self.olga)
        session = self.browser.session
        session[DEVICE_ID_SESSION_KEY] = self.device.persistent_id
        session.save()

    def signed_in(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    def awaiting(self, **more: Any) -> Run:
        return request_backup(self.rita, **more)

    def ended(self) -> Run:
        """A rollback of the past, as far as the records say."""
        now = timezone.now()
        run = Run.objects.create(
            target_id="default", kind="rollback", state="done", outcome="quarantined", reason="x", requester_name="x",
            requested_at=now, claimed_at=now, ended_at=now,
        )  # fmt: skip
        Step.objects.create(
            run=run, position=1, name="postcheck", title="x", state="done", started_at=now, ended_at=now
        )
        self.backup = Backup.objects.create(
            run=run, target_id="default", relation="public.memory_chunks", table_oid=1, server="1/1", state="written",
            location="x", size_bytes=1, rows=1, written_at=now, sha256="0" * 64, fingerprint="x",
        )  # fmt: skip
        self.table = QuarantinedTable.objects.create(
            run=run, target_id="default", name="memory_chunks_x", table_oid=1, server="1/1", since=now
        )
        self.review = Review.objects.create(
            role="DBA", note="x", next_due=now.date() + timedelta(days=9), approved_by=self.ann, approver_name="ann"
        )
        run.refresh_from_db()  # Its checklist is the database's to give.
        checklists.tick(run)
        return run

    def snapshot(self, event: str = "") -> dict[str, Any]:
        """How many rows every table has, and a hash of them."""
        with connection.cursor() as cursor:
            cursor.execute(
                "select format('%%I.%%I', n.nspname, c.relname) from pg_catalog.pg_class c"
                " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
                " where c.relkind = 'r' and n.nspname in ('public', 'memops_quarantine')"
                " and not c.relname like any(%s)",
                [list(UNCOUNTED)],
            )
            seen: dict[str, Any] = {}
            for (table,) in cursor.fetchall():
                cursor.execute(f"select count(*), md5(string_agg(t::text, '' order by t::text)) from {table} t")
                seen[table] = cursor.fetchone()
        if event:
            seen[event] = AuditEvent.objects.filter(action=event).count()
        return seen


def page(name: str, *args: object) -> str:
    return reverse(f"admin:{name}", args=args)


def confirmed(url: str) -> Callable[[Scene], Act]:
    """A confirmation page, with the nonce that it gave to olga."""

    def sent(scene: Scene) -> Act:
        opened = scene.browser.get(url)
        return Act(url, {"seen": opened.context["sealed"], "typed_name": "default", "reason": "INC-1"})

    return sent


def decided(name: str, prepare: Callable[[Scene], Run] = Scene.awaiting, /, **data: str) -> Callable[[Scene], Act]:
    return lambda scene: Act(page(f"memops_console_run_{name}", prepare(scene).pk), data)


def form(
    name: str, number: Callable[[Scene], int] | None = None, /, *, is_once: bool = False, **data: Any
) -> Callable[[Scene], Act]:
    """One of Django's own forms. Sent again, most of them do again what they did."""
    return lambda scene: Act(page(name, *([number(scene)] if number else [])), data, is_once=is_once)


def chosen(name: str, action: str, number: Callable[[Scene], int], **data: str) -> Callable[[Scene], Act]:
    """An action of a list."""
    return lambda scene: Act(page(f"{name}_changelist"), {"action": action, "_selected_action": [number(scene)]} | data)


def _undo(scene: Scene) -> Act:
    call_command("migrate", "memops", "zero", verbosity=0)
    overviews()
    return confirmed(page("memops_console_target_undo_confirm", "default", Run.objects.get(kind="rollback").pk))(scene)


def quarantined_long_ago(scene: Scene) -> QuarantinedTable:
    """A table that was moved by hand, whose time in quarantine is over."""
    call_command("migrate", "memops", "zero", verbosity=0)
    overviews()
    table, then = QuarantinedTable.objects.get(), timezone.now() - timedelta(days=400)
    Run.objects.filter(pk=table.run_id).update(requested_at=then, ended_at=then)
    QuarantinedTable.objects.filter(pk=table.pk).update(since=then)
    return table


def held_by_olga(scene: Scene) -> QuarantinedTable:
    table = quarantined_long_ago(scene)
    holds.put(table, kind=Hold.Kind.MANUAL, by=scene.olga, reason="wait")
    return table


def _purge(scene: Scene) -> Act:
    table = quarantined_long_ago(scene)
    return confirmed(f"{page('memops_console_target_purge_confirm', 'default', table.pk)}?backup=none")(scene)


def expired(scene: Scene) -> Backup:
    """A backup whose time is over, behind as many newer ones as are kept."""
    run, now = scene.ended(), timezone.now()
    folder = Path(settings.MEMOPS_BACKUP_DIR) / "default"
    make_folder(folder)
    for days in (*range(1, 11), 400):
        file, then = folder / f"{days}.dump.zst", now - timedelta(days=days)
        file.write_bytes(b"x")
        made = Backup.objects.create(
            run=run, target_id="default", relation="public.memory_chunks", table_oid=2, server="2/2", state="verified",
            location=file, size_bytes=1, rows=1, written_at=then, verified_at=then, sha256="0" * 64, fingerprint="x",
        )  # fmt: skip
    return made


def _expire(scene: Scene) -> Act:
    shown = {"shown": expired(scene).pk, "typed_name": "default", "reason": "it is full"}
    return Act(page("memops_console_target_expire", "default"), shown)


def held_backup(scene: Scene) -> Backup:
    scene.ended()
    holds.put(scene.backup, kind=Hold.Kind.MANUAL, by=scene.olga, reason="wait")
    return scene.backup


def _backup(scene: Scene) -> int:
    scene.ended()
    return scene.backup.pk


def _verify(scene: Scene) -> Act:
    scene.ended()
    return confirmed(page("memops_console_target_verify_confirm", "default", scene.backup.pk))(scene)


def _restore(scene: Scene) -> Act:
    url = page("memops_console_target_restore_confirm", "default", verified_backup(scene.rita).pk)
    return confirmed(f"{url}?rows=replace")(scene)


def _approved(scene: Scene, by: str = "ann") -> Run:
    run = scene.awaiting()
    approvals.approve(run, by=getattr(scene, by))
    return run


def _approved_by_olga(scene: Scene) -> Run:
    return _approved(scene, "olga")


def _queued(scene: Scene) -> Run:
    return scene.awaiting(break_glass=True, incident="INC-9")


def _unheard(scene: Scene) -> Run:
    run = _queued(scene)
    OrmQ.objects.all().delete()
    return run


def _unreviewed(scene: Scene) -> Run:
    run = _queued(scene)
    cancel(run, requester=as_requester(scene.rita))
    return run


def _set_up(scene: Scene) -> Act:
    session = scene.browser.session
    key = session[PENDING] = second_factor.new_key()
    session.save()
    return Act(page("memops_console_second_factor_set_up"), {"code": code_of(key)})


def _remove(scene: Scene) -> Act:
    key = second_factor.new_key()
    second_factor.set_up(scene.zoe, key=key, typed=code_of(key), may_replace=True)
    return Act(page("auth_user_second_factor", scene.zoe.pk))


def on_item(name: str, item: int, prepare: Callable[[Scene], Run] = Scene.ended, /) -> Callable[[Scene], Act]:
    return decided(name, prepare, item=str(item), note="because")


def _signed(scene: Scene) -> Run:
    run = scene.ended()
    signing.sign(run, HUMAN, by=scene.olga)
    return run


def _settled(scene: Scene) -> Run:
    run = scene.ended()
    for one in checklists.standing(run).items:
        settle = partial(signing.accept, reason="seen") if one.item.machine else signing.sign
        if not one.is_settled:
            settle(run, one.item.number, by=scene.olga)
    return run


def _next_version(scene: Scene) -> Act:
    newest = checklist_templates.newest("rollback")
    text = checklist_templates.as_text(newest) + "- The coffee is made\n"
    return Act(page("memops_console_checklisttemplate_new", "rollback"), {"text": text, "based_on": newest.version})


def _contact(scene: Scene) -> int:
    return scene.contact.pk


def _zoe(scene: Scene) -> int:
    return scene.zoe.pk


def _group(scene: Scene) -> int:
    return scene.group.pk


def _queued_number(scene: Scene) -> int:
    return _queued(scene).pk


MACHINE, HUMAN = 1, 16
"""Items of the rollback's checklist."""

CONTACT = {"position": 2, "name": "Cem", "role": "SRE", "reached_by": "5552", "note": ""}
PERSON = {"username": "zoe-2", "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
NEXT = str(timezone.now().date() + timedelta(days=30))

MUTATING: dict[str, Callable[[Scene], Act]] = {
    "memops_console_target_rollback_confirm": confirmed(
        "/admin/memops_console/target/default/rollback/confirm/?mode=emergency"
    ),
    "memops_console_target_backup_confirm": confirmed("/admin/memops_console/target/default/backup/confirm/"),
    "memops_console_target_undo_confirm": _undo,
    "memops_console_target_verify_confirm": _verify,
    "memops_console_target_purge_confirm": _purge,
    "memops_console_target_expire": _expire,
    "memops_console_backup_hold": form(
        "memops_console_backup_hold", _backup, is_once=True, kind="manual", reason="wait"
    ),
    "memops_console_backup_lift": form(
        "memops_console_backup_lift",
        lambda scene: held_backup(scene).pk,
        is_once=True,
        kind="manual",
        reason="over",
    ),
    "memops_console_quarantinedtable_hold": form(
        "memops_console_quarantinedtable_hold",
        lambda scene: quarantined_long_ago(scene).pk,
        is_once=True,
        kind="manual",
        reason="wait",
    ),
    "memops_console_quarantinedtable_lift": form(
        "memops_console_quarantinedtable_lift",
        lambda scene: held_by_olga(scene).pk,
        is_once=True,
        kind="manual",
        reason="over",
    ),
    "memops_console_target_restore_confirm": _restore,
    "memops_console_run_approve": decided("approve"),
    "memops_console_run_reject": decided("reject", comment="no"),
    "memops_console_run_withdraw": decided("withdraw"),
    "memops_console_run_revoke": decided("revoke", _approved_by_olga, comment="no"),
    "memops_console_run_start": decided("start", _approved),
    "memops_console_run_cancel": decided("cancel", _queued),
    "memops_console_run_reconcile": decided("reconcile", _unheard),
    "memops_console_run_review": decided("review", _unreviewed, note="looked"),
    "memops_console_run_sign": on_item("sign", HUMAN),
    "memops_console_run_set-aside": on_item("set-aside", HUMAN),
    "memops_console_run_accept": on_item("accept", MACHINE),
    "memops_console_run_reopen": on_item("reopen", HUMAN, _signed),
    "memops_console_run_close": decided("close", _settled),
    "memops_console_checklisttemplate_new": _next_version,
    "memops_console_run_changelist cancel": chosen("memops_console_run", "cancel", _queued_number),
    "memops_console_auditevent_verify": lambda scene: Act(
        page("memops_console_auditevent_verify"), event="audit.checked", is_once=False
    ),
    "memops_console_auditevent_export": lambda scene: Act(
        page("memops_console_auditevent_export"), event="audit.exported", is_once=False
    ),
    "memops_console_second_factor_set_up": _set_up,
    "memops_console_second_factor_recovery_codes": form("memops_console_second_factor_recovery_codes"),
    "auth_user_second_factor": _remove,
    "memops_console_contact_add": form("memops_console_contact_add", **CONTACT),
    "memops_console_contact_change": form("memops_console_contact_change", _contact, **CONTACT),
    "memops_console_contact_delete": form("memops_console_contact_delete", _contact, is_once=True, post="yes"),
    "memops_console_contact_changelist delete_selected": chosen(
        "memops_console_contact", "delete_selected", _contact, post="yes"
    ),
    "memops_console_review_add": form("memops_console_review_add", role="DBA", note="read it", next_due=NEXT),
    "auth_user_add": form(
        "auth_user_add", is_once=True, username="mallory", usable_password="true", password1=NEW_PASSWORD,
        password2=NEW_PASSWORD,
    ),
    "auth_user_change": form("auth_user_change", _zoe, **PERSON),
    "auth_user_delete": form("auth_user_delete", _zoe, is_once=True, post="yes"),
    "auth_user_changelist delete_selected": chosen("auth_user", "delete_selected", _zoe, post="yes"),
    "auth_user_password_change": form(
        "auth_user_password_change", _zoe, usable_password="true", password1=NEW_PASSWORD, password2=NEW_PASSWORD
    ),
    "auth_group_add": form("auth_group_add", is_once=True, name="day shift"),
    "auth_group_change": form("auth_group_change", _group, name="day shift"),
    "auth_group_delete": form("auth_group_delete", _group, is_once=True, post="yes"),
    "auth_group_changelist delete_selected": chosen("auth_group", "delete_selected", _group, post="yes"),
    "password_change": form(
        "password_change", is_once=True, old_password=PASSWORD, new_password1=NEW_PASSWORD, new_password2=NEW_PASSWORD
    ),
}  # fmt: skip

OWN_SESSION = {"login", "logout", "memops_console_second_factor_code"}
"""They let somebody in, or out: test_sign_in.py and test_second_factor.py."""

RECORDS = ("target", "run", "backup", "quarantinedtable", "auditevent", "checklisttemplate")
"""What nobody adds, changes or deletes, superusers included."""

READS = {
    *("index", "app_list", "autocomplete", "jsi18n", "view_on_site", "password_change_done"),
    *("memops_console_queue", "memops_console_second_factor"),
    *(f"memops_console_target_{name}" for name in ("rollback", "undo", "backup", "verify", "purge", "restore")),
    *(f"memops_console_run_{name}" for name in ("live", "tail", "log")),
    *(f"memops_console_{model}_{act}" for model in RECORDS for act in ("add", "change", "delete")),
    *("memops_console_review_change", "memops_console_review_delete"),
    *(
        f"memops_console_{model}_{act}"
        for model in (*RECORDS, "contact", "review")
        for act in ("changelist", "history")
    ),
    *(f"auth_{model}_{act}" for model in ("user", "group") for act in ("changelist", "history")),
    # Actions that lead to a page of their own.
    *("memops_console_target_changelist roll_back", "memops_console_target_changelist back_up"),
    *("memops_console_run_changelist undo", "memops_console_backup_changelist verify"),
    "memops_console_backup_changelist restore",
    *("memops_console_quarantinedtable_changelist undo", "memops_console_quarantinedtable_changelist purge"),
    "auth_user_changelist remove_second_factor",
    # Those that no list offers, since nobody has the permission.
    *(f"memops_console_{model}_changelist delete_selected" for model in (*RECORDS, "review")),
}


def addresses(resolver: URLResolver | None = None) -> Iterator[str]:
    """Every named address of the project, and every action of its lists."""
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern)
        elif isinstance(pattern, URLPattern) and not _leads_elsewhere(pattern):
            yield pattern.name or str(pattern.pattern)
    if resolver is None:
        for model, model_admin in admin.site._registry.items():
            for _, name, _ in model_admin._get_base_actions():
                yield f"{model._meta.app_label}_{model._meta.model_name}_changelist {name}"


def _leads_elsewhere(pattern: URLPattern) -> bool:
    """Redirects without a name, and the one that says that there is no such page."""
    found = getattr(pattern.callback, "view_class", None)
    return pattern.name is None and (
        (found is not None and found.__name__ == "RedirectView") or pattern.callback.__name__ == "catch_all_view"
    )


def test_every_address_is_classified() -> None:
    found = set(addresses())

    assert found - MUTATING.keys() - READS - OWN_SESSION == set(), "say in this file what these can change"
    assert (MUTATING.keys() | READS | OWN_SESSION) - found == set(), "these are gone"


@pytest.fixture
def scene(console_db: str, settings) -> Scene:
    settings.MEMOPS_SECOND_FACTOR, settings.MEMOPS_APPROVALS = "required", ONE
    return Scene()


@pytest.mark.parametrize("name", MUTATING)
def test_nothing_happens_but_as_it_should(name: str, scene: Scene, settings) -> None:
    act = MUTATING[name](scene)
    nobody = scene.signed_in(person("nobody"))
    viewer = person("vera", "auditor")
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    if act.event:
        viewer.groups.clear()  # Auditors may do exactly this.
    viewing, before_the_code = scene.signed_in(viewer), scene.signed_in(scene.olga)
    forger = Client(enforce_csrf_checks=True)
    for cookie, morsel in [*scene.browser.cookies.items()]:
        forger.cookies[cookie] = morsel.value
    forger.cookies["csrftoken"] = "c" * 32
    before = scene.snapshot(act.event)

    tried = {
        "by GET": scene.browser.get(act.url, act.data),
        "by HEAD": scene.browser.head(act.url, act.data),
        "by nobody who is signed in": Client().post(act.url, act.data),
        "without any permission": nobody.post(act.url, act.data),
        "with the right to look": viewing.post(act.url, act.data),
        "before the code": before_the_code.post(act.url, act.data),
        "with a forged form": forger.post(act.url, act.data | {"csrfmiddlewaretoken": WRONG_TOKEN}),
    }
    for how, answer in tried.items():
        assert answer.status_code < 500, how
    assert scene.snapshot(act.event) == before
    assert tried["with a forged form"].status_code == 403
    assert tried["before the code"].status_code == 403 or "second-factor/code/" in tried["before the code"].url
    assert reverse("admin:login") in tried["by nobody who is signed in"].url

    scene.browser.post(act.url, act.data)
    once = scene.snapshot(act.event)
    assert once != before, "it should have done something: the rest of this test proves nothing"
    if act.is_once:
        scene.browser.post(act.url, act.data)
        assert scene.snapshot(act.event) == once


def test_what_reads_changes_nothing_whatever_is_sent(scene: Scene) -> None:
    ended = scene.ended()
    keys = {
        "target": "default", "run": ended.pk, "backup": scene.backup.pk, "quarantinedtable": scene.table.pk,
        "checklisttemplate": ended.checklist_id,
        "auditevent": AuditEvent.objects.earliest("pk").pk, "contact": scene.contact.pk, "review": scene.review.pk,
        "user": scene.zoe.pk, "group": scene.group.pk,
    }  # fmt: skip
    special: dict[str, list[Any]] = {
        "app_list": ["auth"], "view_on_site": [ContentType.objects.get_for_model(Contact).pk, scene.contact.pk],
        "memops_console_target_undo": ["default", ended.pk],
        "memops_console_target_verify": ["default", scene.backup.pk],
        "memops_console_target_purge": ["default", scene.table.pk],
        "memops_console_target_restore": ["default", scene.backup.pk], "memops_console_run_tail": [ended.pk, 1],
    }  # fmt: skip
    before = scene.snapshot()

    for name in sorted(READS):
        address, _, action = name.partition(" ")
        model = address.split("_")[-2] if "_" in address else ""
        args = special.get(address, [])
        if not args and not address.endswith(("_changelist", "_add")) and model in keys:
            args = [keys[model]]
        url = page(address, *args)
        sent = {"action": action, "_selected_action": [keys[model]]} if action else {"reason": "x", "name": "x"}
        answers = [scene.browser.get(url), scene.browser.post(url, sent | {"post": "yes"})]
        assert all(answer.status_code < 500 for answer in answers), name
        assert scene.snapshot() == before, name
