"""The checklist in the console: one form an act, only by whoever may, and nothing by reading."""

import html

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from memops.console.errors import ChecklistChanged, ChecklistWrong, NotASigner
from memops.console.models import AuditEvent, ChecklistTemplate, Run, SignOff
from memops.console.runs import checklist_templates, signing
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_rollback
from memops.console.runs.request import cancel
from tests.postgres.people import as_requester, ask_for, person
from tests.postgres.test_console import HOSTILE, page, text

ACTS = ("sign", "set-aside", "accept", "reopen", "close")


def signed_in(user: User, **options) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def shown(run: Run, client: Client) -> str:
    return text(client.get(page("run_change", run.pk)))


class TestThePanel:
    def test_it_shows_blocks_items_evidence_and_what_is_open_in_words(self, rolled_back, ann):
        read = shown(rolled_back, signed_in(ann))

        assert "Not closed: 5 items open" in read
        assert "Restart of the application 16 API servers restarted Open" in read
        assert "1 Migration history verified Ticked by evidence" in read
        assert "Applied before: 0001_memory_chunks." in read
        assert "Close the run is off: 5 required items of it are open." in read

    def test_a_person_signs_sets_aside_reopens_and_closes(self, rolled_back, ann):
        client = signed_in(ann)

        def act(name: str, number: int = 0, **typed: str) -> str:
            answer = client.post(page(f"run_{name}", rolled_back.pk), {"item": number, **typed}, follow=True)
            assert answer.redirect_chain == [(f"{rolled_back.get_absolute_url()}#checklist", 302)]
            return text(answer)

        assert "You have signed item 16 (API servers restarted)." in act("sign", 16, role="executor", note="all six")
        assert "Signed by ann as executor" in shown(rolled_back, client)
        assert "needs a reason" in act("set-aside", 20)
        assert "does not apply" in act("set-aside", 20, note="nobody noticed")
        for number in (17, 18, 21):
            act("sign", number)
        assert "every item is settled" in shown(rolled_back, client)
        assert f"You have closed run {rolled_back.pk}." in act("close", note="well done")
        assert "Closed by ann" in shown(rolled_back, client)
        assert "is closed, by ann" in act("sign", 16)
        assert "You have reopened item 17" in act("reopen", 17, note="they fail again")
        read = shown(rolled_back, client)
        assert "Not closed: 1 item open" in read
        assert "they fail again" in read
        assert "You have reopened item 1 " in act("reopen", 1, note="another database")
        assert "You have accepted item 1" in act("accept", 1, note="no, the right one")

    def test_the_history_and_the_start_page_say_that_it_is_not_closed(self, rolled_back, ann):
        client = signed_in(ann)

        assert "not closed: 5 items open" in text(client.get(page("run_changelist")))
        start = text(client.get(reverse("admin:index")))
        assert f"Not closed: 5 items open : Run {rolled_back.pk}: emergency rollback on default" in start

    def test_while_it_runs_nothing_can_be_signed_and_its_end_brings_the_forms(self, console_db, ann):
        run = ask_for(plan_rollback("default", emergency=True), ann)
        client = signed_in(ann)
        assert "When the run has ended" in shown(run, client)
        assert b'id="checklist"' not in client.get(page("run_live", run.pk)).content

        advance(run.pk)

        live = client.get(page("run_live", run.pk))
        assert live.status_code == 286
        assert b'hx-swap-oob="true"' in live.content
        assert page("run_sign", run.pk).encode() in live.content

    def test_a_run_from_before_says_so(self, rolled_back, ann, tamperer):
        tamperer.execute("alter table memops_console_run disable trigger memops_run_checklist")
        tamperer.execute("update memops_console_run set checklist_id = null where id = %s", [rolled_back.pk])
        tamperer.execute("alter table memops_console_run enable always trigger memops_run_checklist")

        assert "before its kind of run had a checklist" in shown(rolled_back, signed_in(ann))

    def test_an_item_of_a_role_says_who_signs_it(self, rolled_back, ann):
        run = Run.objects.get(kind="deploy")

        assert "A member of the group DBA signs it." in shown(run, signed_in(ann))
        assert "A member of the group DBA" not in shown(run, signed_in(person("dora", "DBA")))

    def test_what_was_typed_is_shown_as_text(self, rolled_back, ann):
        signing.sign(rolled_back, 16, by=ann, note=HOSTILE)

        content = signed_in(ann).get(page("run_change", rolled_back.pk)).content.decode()
        assert html.escape(HOSTILE) in content
        assert HOSTILE not in content


class TestWhoMay:
    @pytest.mark.parametrize("act", ACTS)
    def test_an_act_is_a_form_of_somebody_who_may(self, act, rolled_back, ann):
        url = page(f"run_{act}", rolled_back.pk)
        before = list(SignOff.objects.values_list("pk", flat=True))
        typed = {"item": 16, "note": "x"}

        assert signed_in(ann).get(url).status_code == 405
        anonymous = Client().post(url, typed)
        assert (anonymous.status_code, anonymous.url.split("?")[0]) == (302, reverse("admin:login"))
        for groups in (("auditor",), ("administrator",)):
            assert signed_in(person(f"of {groups}", *groups)).post(url, typed).status_code == 403
        assert signed_in(person("nobody")).post(url, typed).status_code == 403
        assert signed_in(ann, enforce_csrf_checks=True).post(url, typed).status_code == 403
        assert list(SignOff.objects.values_list("pk", flat=True)) == before
        assert not rolled_back.closings.exists()

    def test_a_viewer_reads_why_it_is_off(self, rolled_back):
        read = shown(rolled_back, signed_in(person("vera", "auditor")))

        assert "Sign is off: You lack the permission" in read
        assert "Sign, or not applicable" not in read

    @pytest.mark.parametrize("item", ["", "0", "99", "-1", "1e3", "٣", "9" * 30, "16; drop table"])
    def test_an_item_that_is_none_changes_nothing(self, rolled_back, ann, item):
        answer = signed_in(ann).post(page("run_sign", rolled_back.pk), {"item": item}, follow=True)

        assert "There is no item" in text(answer)

    def test_an_item_that_is_nul_signs_nothing(self, rolled_back, ann):
        before = SignOff.objects.count()

        answer = signed_in(ann).post(page("run_sign", rolled_back.pk), {"item": "\x00"}, follow=True)

        assert (answer.status_code, SignOff.objects.count()) == (400, before)

    def test_reading_signs_nothing_for_anybody(self, rolled_back, ann):
        before = SignOff.objects.count()
        client = signed_in(User.objects.create_superuser("root"))
        for url in (
            page("run_change", rolled_back.pk),
            page("checklisttemplate_changelist"),
            *(page("checklisttemplate_change", one.pk) for one in ChecklistTemplate.objects.all()),
            page("checklisttemplate_new", "rollback"),
        ):
            assert client.get(url).status_code == 200, url
        assert SignOff.objects.count() == before


class TestTemplates:
    @pytest.fixture
    def adam(self, console_db) -> User:
        return person("adam", "administrator")

    def publish(self, user: User, written: str, *, kind: str = "rollback", based_on: int = 1, **more: str):
        url = page("checklisttemplate_new", kind)
        return signed_in(user).post(url, {"text": written, "based_on": based_on, "note": "", **more})

    def test_what_is_shown_for_editing_reads_as_the_same_checklist(self, console_db):
        for template in ChecklistTemplate.objects.all():
            lines = checklist_templates.parse(template.kind, checklist_templates.as_text(template))
            kept = template.items.values_list("block", "text", "machine", "role", "required")
            assert [(one.block, one.text, one.machine, one.role, one.required) for one in lines] == list(kept)

    def test_a_new_version_is_published_and_only_new_runs_get_it(self, adam, ann):
        before = cancel(ask_for(plan_rollback("default"), ann), requester=as_requester(ann))
        answer = self.publish(
            adam,
            "## After\r\n- Told people\r\n- [optional] [role: DBA] Looked at the plans\r\n\r\n"
            "## Proof\r\n- [machine: ended_well] Ended well\r\n",
            note="shorter",
        )

        made = ChecklistTemplate.objects.get(kind="rollback", version=2)
        assert answer.url == made.get_absolute_url()
        assert (made.author, made.note, made.items_total) == (adam, "shorter", 3)
        assert list(made.items.values_list("number", "block", "text", "machine", "role", "required")) == [
            (1, "After", "Told people", "", "", True),
            (2, "After", "Looked at the plans", "", "DBA", False),
            (3, "Proof", "Ended well", "ended_well", "", True),
        ]
        assert AuditEvent.objects.filter(action="checklist.published", actor="adam").count() == 1
        before.refresh_from_db()
        assert before.checklist.version == 1
        assert ask_for(plan_rollback("default"), ann).checklist == made
        read = text(signed_in(adam).get(made.get_absolute_url()))
        assert "ticked by the machine check: Every step ended without an error" in read
        again = text(signed_in(adam).get(page("checklisttemplate_new", "rollback")))
        assert "[optional] [role: DBA] Looked at the plans" in again

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("", "It has no item."),
            ("\n \n", "It has no item."),
            ("- alone", "Line 1: an item needs a block"),
            ("##\n- x", "Line 1: a block needs a name"),
            ("## A\n-  ", "Line 2: an item needs a text"),
            ("## A\nwhat is this", "Line 2: it begins neither with ## (a block) nor with - (an item)."),
            ("## A\n- x\n- x", "Line 3: the same item stands in this block already"),
            ("## A\n- x\n## A\n- y", "Line 3: there is a block of this name already"),
            ("## A\n- [machine: rm -rf] x", "Line 2: there is no such machine check"),
            ("## A\n- [machine: table_back] x", "Line 2: there is no such machine check for this kind of run"),
            ("## A\n- [role: Nobody at all] x", "Line 2: there is no group of that name"),
            ("## A\n- [role: DBA] [machine: ended_well] x", "not both"),
            ("## A\n- [urgent] x", "Line 2: what stands in brackets"),
            ("## A\n- turned \u202e round", "Line 2: it has characters that do not show: RIGHT-TO-LEFT OVERRIDE"),
            ("## A\n- a\tb", "a tab"),
            ("## " + "A" * 121 + "\n- x", "at most 120"),
            ("## A\n- " + "x" * 301, "at most 300"),
            ("## A\n" + "\n".join(f"- item {n}" for n in range(201)), "200 are the most"),
            ("x\n" * 30, "And 10 more."),
            ("x" * 60_001, "60000"),
        ],
    )
    def test_what_cannot_be_a_checklist_is_told_by_line_and_kept_for_mending(self, adam, written, said):
        answer = self.publish(adam, written)

        assert answer.status_code == 200
        assert said in text(answer)
        assert ChecklistTemplate.objects.filter(kind="rollback").count() == 1

    def test_hostile_texts_are_shown_as_text(self, adam):
        answer = self.publish(adam, f"## {HOSTILE}\n- {HOSTILE}\n- ' ; drop table x; --", note=HOSTILE)

        content = signed_in(adam).get(answer.url).content.decode()
        assert HOSTILE not in content
        assert html.escape(HOSTILE) in content
        for url in (page("checklisttemplate_changelist"), page("checklisttemplate_new", "rollback")):
            assert HOSTILE not in signed_in(adam).get(url).content.decode()

    @pytest.mark.parametrize("based_on", ["0", "2", "", "x", "-1", "9" * 30])
    def test_nobody_overwrites_what_somebody_else_has_published(self, adam, based_on):
        answer = self.publish(adam, "## A\n- x", based_on=based_on)

        assert answer.status_code == 200
        assert "errornote" in answer.content.decode()
        assert ChecklistTemplate.objects.filter(kind="rollback").count() == 1

    def test_the_second_of_two_editors_is_told_who_was_first(self, adam):
        checklist_templates.publish("undo", "## A\n- x", by=adam, based_on=1)

        with pytest.raises(ChecklistChanged, match=r"\(adam\) has published version 2"):
            checklist_templates.publish("undo", "## A\n- y", by=adam, based_on=1)

    def test_a_kind_without_one_can_be_given_one_and_no_other_kind(self, adam):
        assert self.publish(adam, "## A\n- x", kind="backup", based_on=0).status_code == 302
        assert self.publish(adam, "## A\n- x", kind="nonsense", based_on=0).status_code == 404
        with pytest.raises(ChecklistWrong, match="no such kind"):
            checklist_templates.publish("nonsense", "## A\n- x", by=adam, based_on=0)

    def test_only_who_may_publishes(self, console_db):
        url, typed = page("checklisttemplate_new", "rollback"), {"text": "## A\n- x", "based_on": 1}
        for groups in (("auditor",), ("requester", "approver", "executor"), ()):
            somebody = person(f"of {groups}", *groups)
            client = signed_in(somebody)
            assert client.get(url).status_code == client.post(url, typed).status_code == 403
            with pytest.raises(NotASigner):
                checklist_templates.publish("rollback", "## A\n- x", by=somebody, based_on=1)
        assert Client().post(url, typed).status_code == 302
        assert not ChecklistTemplate.objects.exclude(version=1).exists()

    def test_a_forged_form_publishes_nothing(self, adam):
        client = signed_in(adam, enforce_csrf_checks=True)
        answer = client.post(page("checklisttemplate_new", "rollback"), {"text": "## A\n- x", "based_on": 1})

        assert answer.status_code == 403
        assert not ChecklistTemplate.objects.exclude(version=1).exists()

    def test_a_version_is_not_changed_or_deleted_by_the_admins_own_pages(self, adam):
        client = signed_in(User.objects.create_superuser("root"))
        one = ChecklistTemplate.objects.first()

        assert client.get(page("checklisttemplate_add")).status_code == 403
        assert client.post(page("checklisttemplate_change", one.pk), {"version": 9}).status_code == 405
        assert client.post(page("checklisttemplate_delete", one.pk), {"post": "yes"}).status_code == 403

    def test_who_may_see_no_checklist_sees_none(self, console_db):
        user = person("nina")
        user.user_permissions.set(Permission.objects.filter(codename="view_run"))
        client = signed_in(user)

        assert client.get(page("checklisttemplate_changelist")).status_code == 403
        assert client.get(page("checklisttemplate_change", ChecklistTemplate.objects.first().pk)).status_code == 403


def test_a_settled_run_can_be_closed_by_the_button_that_is_shown(settled, ann):
    content = signed_in(ann).get(page("run_change", settled.pk)).content.decode()

    assert page("run_close", settled.pk) in content
