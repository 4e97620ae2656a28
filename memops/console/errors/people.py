"""What people are refused: approvals, checklists, the second factor."""

from __future__ import annotations

from functools import partial
from typing import Any

from memops.console.errors.base import Refused, UsageError

# Approvals


class NotAwaiting(Refused):
    """Run {run} is {state}: it does not await a decision any more. Nothing was changed."""


class OwnRequest(Refused):
    """Run {run} was asked for by {name}, so somebody else has to decide on it. Nothing was changed."""


class NotAnApprover(Refused):
    """Run {run} is decided on by these groups: {groups}; {name} may not decide, or is in none of them. Nothing was
    changed. An administrator puts people into groups under Users."""


class AlreadyDecided(Refused):
    """You have decided on run {run} already. Nothing was changed. To take it back, revoke it."""


class NoDecision(Refused):
    """There is no approval of yours on run {run} to take back. Nothing was changed."""


class AlreadyStarted(Refused):
    """Run {run} was started by {by} already, and is {state}. It was not started a second time."""


class NotExecuted(Refused):
    """Run {run} cannot be started on "{target}": {problem}. It has {valid} valid of {needed} approvals that it needs.
    Nothing was changed. An approval does not count when its approver was deactivated or left the group, nor after the
    request has expired."""


class PolicyStricter(Refused):
    """Run {run} was asked for with fewer approvals, or from other groups, than a run like it on "{target}" needs now:
    {needed}, from {groups}. Nothing was changed. Ask for it again."""


class NeedsReview(Refused):
    """Run {run} on "{target}" was started without approvals, and nobody else has reviewed it yet. Nothing was started.
    Somebody who may approve reads it and files the review: on its page, or by manage.py memops review {run}."""


class NotReviewable(Refused):
    """Run {run} is {state}: there is nothing to review now. Nothing was changed."""


class IncidentMissing(UsageError):
    """To start without approvals, say which incident it is for: its number or name, at most 100 characters. Nothing
    was started."""


class WindowInvalid(UsageError):
    """The maintenance window cannot be used: {problem}. Nothing was started. Say when the run may begin, in UTC:
    2027-01-31T02:00."""


class WindowWithoutApprovals(UsageError):
    """What is started without approvals begins now, so it has no maintenance window. Nothing was started. Leave out
    one of the two."""


class OutsideWindow(Refused):
    """Run {run} may begin on "{target}" only in its maintenance window, {window}. Nothing was changed."""


class NotSignedIn(Refused):
    """That is not the name and password of somebody who may sign in. Nothing was changed. Five wrong passwords shut a
    name out for a while."""


# Checklists


class NoChecklist(Refused):
    """Run {run} has nothing to sign: {why}. Nothing was changed."""


class NoSuchItem(UsageError):
    """There is no item {item} on the checklist of run {run}. Nothing was changed. manage.py memops checklist {run}
    lists them."""


class NotASigner(Refused):
    """{name} lacks the permission to {what}. Nothing was changed. A group gives it; an administrator puts people into
    groups under Users."""


class NotInRole(Refused):
    """{name} is not in the group {role}, in whose name item {item} of run {run} would be signed. Nothing was changed.
    Somebody of that group signs it; an administrator puts people into groups under Users."""


class TwoRoles(Refused):
    """{name} has signed on run {run} as {other} already, and nobody signs in two of the roles that a checklist asks
    for. Nothing was changed. Another member of {role} has to sign."""


class ItemIsSettled(Refused):
    """Item {item} of run {run} is settled: {state}, by {by}. Nothing was changed. To sign it anew, reopen it first."""


class ItemIsOpen(Refused):
    """Item {item} of run {run} is open, so there is nothing to reopen. Nothing was changed."""


class MachineItem(Refused):
    """Item {item} of run {run} {problem}. Nothing was changed."""


class NoteMissing(Refused):
    """Item {item} of run {run} needs a reason for this: it is kept. Nothing was changed."""


class RunIsClosed(Refused):
    """Run {run} is closed, by {by}. Nothing was changed. To sign for it again, reopen one of its items first."""


class AlreadyClosed(Refused):
    """Run {run} was closed by {by} already. It was not closed a second time."""


class ItemsAreOpen(Refused):
    """Run {run} is not closed: {count} required items of its checklist are open: {items}. Nothing was changed."""


class ChecklistWrong(UsageError):
    """The checklist cannot be published: {problems} Nothing was changed."""

    def __init__(self, *, each: list[str]) -> None:
        super().__init__(problems=" ".join(each), each=each)
        self.each = each

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return partial(type(self), each=self.each), ()


class ChecklistUnreadable(UsageError):
    """The file {file} cannot be read: {problem}. Nothing was changed."""


class ChecklistChanged(Refused):
    """Somebody else ({by}) has published version {version} of this checklist meanwhile. Nothing was changed. Read it,
    then make your changes to it."""


# The second factor


class CodeUnreadable(Refused):
    """That is no code. Nothing was changed. Type the six digits that your device shows, or one of your recovery codes,
    which have sixteen letters and digits."""


class CodeWrong(Refused):
    """That code is wrong, or was used already. Nothing was changed. Type the one that your device shows now: each is
    good once, for about half a minute."""


class CodesThrottled(Refused):
    """There were {failures} wrong codes in a row, so none is looked at for another {wait}. Nothing was changed. If that
    was not you, somebody knows your password: change it, and tell your security officer."""


class DeviceNotConfirmed(Refused):
    """That is not the code of this new device. Nothing was set up. Scan the picture, and type the six digits that the
    device shows now; if they never fit, its clock is wrong."""


class SecondFactorExists(Refused):
    """{name} has a second factor already, and only somebody who has typed its code can put another in its place.
    Nothing was changed."""


class NoSecondFactor(Refused):
    """{name} has no second factor. Nothing was changed. It is set up after the next sign-in to the console."""


class OwnSecondFactor(Refused):
    """Nobody removes their own second factor. Nothing was changed. Put another device in its place, or ask another
    administrator."""


class NoSuchPerson(UsageError):
    """There is nobody called {name} in this console. Nothing was changed."""
