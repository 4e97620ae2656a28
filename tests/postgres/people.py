"""People for the tests about who may do what."""

from django.contrib.auth.models import Group, User
from django.test import override_settings

from memops.console.models import Backup, Run
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_backup
from memops.console.runs.request import Requester, submit

TWO = [{"target": "*", "kind": "*", "needed": 2, "groups": None, "hours": None}]
ONE = [{"target": "*", "kind": "*", "needed": 1, "groups": None, "hours": None}]
PASSWORD = "correct horse battery"
SIGNED_BY_PEOPLE = (16, 17, 18, 20, 21)
"""On the rollback's checklist, as delivered."""


def person(name: str, *groups: str, password: str | None = None) -> User:
    user = User.objects.create_user(name, password=password, is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


def as_requester(user: User) -> Requester:
    return Requester(name=user.get_username(), user=user, origin=Run.Origin.CONSOLE)


def ask_for(plan, by: User, **more) -> Run:
    return submit(plan, requester=as_requester(by), reason="INC-1", seen_digest=plan.digest, **more)


def request_backup(by: User, **more) -> Run:
    """The request that costs least to carry out."""
    return ask_for(plan_backup("default"), by, **more)


def verified_backup(by: User) -> Backup:
    """A real one, of the table as it is; nobody has to approve that."""
    with override_settings(MEMOPS_APPROVALS=[]):
        return execute(plan_backup("default"), by).backups.get()


def execute(plan, by: User) -> Run:
    """Ask for it, and do its work in this process."""
    run = ask_for(plan, by)
    advance(run.pk)
    run.refresh_from_db()
    return run
