"""manage.py check says where somebody could act without a permission, or alone."""

import pytest
from django.contrib import admin
from django.contrib.admin.sites import all_sites
from django.contrib.auth.models import Group
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from memops.console import checks
from memops.console.admin.site import ConsoleSite
from memops.console.models import Contact
from tests.postgres.people import ONE, TWO, person


@admin.action(description="Do it")
def unguarded(model_admin, request, queryset):
    queryset.delete()


class Unguarded(admin.ModelAdmin):
    actions = (unguarded,)


@pytest.fixture
def site():
    made = ConsoleSite("made by a test")
    yield made
    all_sites.discard(made)


def test_the_consoles_own_actions_all_ask(site):
    assert list(checks.action_faults(admin.site)) == []
    assert list(checks.action_faults(site)) == []


def test_an_action_that_asks_for_no_permission_is_an_error(site):
    site.unregister(Contact)
    site.register(Contact, Unguarded)

    (fault,) = checks.action_faults(site)

    assert (fault.id, "unguarded" in fault.msg, "Contact" in fault.msg) == ("memops.E010", True, True)
    with pytest.raises(SystemCheckError, match=r"memops\.E010"):
        call_command("check", "--tag", "admin")


def test_an_action_of_the_whole_site_is_found_as_well(site):
    site.add_action(unguarded)

    assert {fault.id for fault in checks.action_faults(site)} == {"memops.E010"}


class TestOnePersonInBothRoles:
    @pytest.fixture(autouse=True)
    def one_approval(self, console_db, settings):
        settings.MEMOPS_APPROVALS = ONE

    def said(self) -> list[str]:
        found = run_checks(tags=[Tags.database], databases=["default"])
        return [warning.msg for warning in found if warning.id == "memops.W011"]

    def test_is_warned_of_by_name(self):
        person("rita", "requester")
        person("ann", "approver")
        assert self.said() == []

        person("zoe", "requester", "approver")

        (said,) = self.said()
        assert said.startswith("zoe may both ask for and approve default/rollback, default/undo")

    def test_not_where_two_approvals_are_needed(self, settings):
        person("zoe", "requester", "approver")
        settings.MEMOPS_APPROVALS = TWO
        assert self.said() == []

    def test_not_of_whoever_cannot_sign_in(self):
        zoe = person("zoe", "requester", "approver")
        zoe.is_active = False
        zoe.save()
        assert self.said() == []

    def test_a_superuser_decides_by_group_like_everybody(self):
        olga = person("olga")
        olga.is_superuser = True
        olga.save()
        assert self.said() == []
        olga.groups.add(Group.objects.get(name="approver"))
        assert len(self.said()) == 1

    def test_status_says_it(self, capsys):
        person("zoe", "requester", "approver")
        call_command("memops", "status")
        assert "Warning: zoe may both" in capsys.readouterr().out

    def test_a_check_that_reads_no_database_does_not(self):
        person("zoe", "requester", "approver")
        assert [found for found in run_checks() if found.id == "memops.W011"] == []


class TestWaivedApprovals:
    def said(self) -> list[str]:
        return [found.msg for found in checks.approvals_are_not_waived(None)]

    @pytest.fixture(autouse=True)
    def deployed(self, settings):
        settings.MEMOPS_MODE, settings.MEMOPS_APPROVALS = "deployment", []

    def test_are_warned_of_in_a_deployment(self, settings):
        assert self.said() == []
        settings.MEMOPS_APPROVALS = [ONE[0] | {"kind": "undo", "needed": 0}]
        assert self.said() == ["Nobody has to approve default/undo: one person moves or drops the table alone."]

    def test_and_nowhere_else(self, settings):
        settings.MEMOPS_MODE = "development"
        settings.MEMOPS_APPROVALS = [ONE[0] | {"needed": 0}]
        assert self.said() == []

    def test_a_waived_backup_is_nobodys_concern(self, settings):
        settings.MEMOPS_APPROVALS = [ONE[0] | {"kind": "backup", "needed": 0}]
        assert self.said() == []
