"""A console that has been in use for a year: runs with their steps, logs, backups, sign-offs and approvals, and an
audit trail of any length whose chain holds.

Some runs are real. The others are their copies with other numbers and times; their events are copied as well, and
between them stands what people do all day. The trail is written past its trigger, with the hashes that the product's
own verifier computes: a million events in a minute instead of seven.
"""

import json
import random
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connections
from django.db.models import Model
from django.utils import timezone

from memops import demo
from memops.console.audit import anchors, verify_export
from memops.console.models import Approval, Backup, QuarantinedTable, Run, RunClosing, SignOff, Step
from memops.console.pg import trail
from memops.console.runs import history, signing
from memops.console.runs.advance import advance
from memops.console.runs.plan import plan_backup, plan_rollback, plan_undo
from memops.console.runs.request import Requester, submit
from tests.databases import guard_off

YEAR = timedelta(days=365)
PEOPLE = 50
SIGNED_BY_PEOPLE = (16, 17, 18, 20, 21)
"""On the rollback's checklist, as delivered."""

COLUMNS = ("sequence", "at", *verify_export.FIELDS, "previous", "hash")
COPY = f"copy public.audit_event ({', '.join(COLUMNS)}) from stdin"

EVERY_DAY = (
    ("sign_in", "", "", {}),
    ("sign_in", "", "", {}),
    ("second_factor.passed", "user", "7", {"name": "person-7"}),
    ("sign_out", "", "", {}),
    ("sign_in.failed", "", "", {}),
    ("permission.refused", "page", "/memops_console/target/default/rollback/", {"method": "GET"}),
    ("audit.checked", "", "", {"first": 1, "holds": True, "last": 40_000}),
    ("user.group.given", "user", "9", {"name": "person-9", "what": ["approver"]}),
    ("contact.changed", "contact", "3", {"name": "Kim (DBA)", "now": {"note": "at night"}, "was": {"note": ""}}),
    ("run.not_accepted", "", "", {"kind": "rollback", "origin": "console", "why": "StalePlan"}),
)


def fill(*, runs: int, events: int) -> None:
    """Give ``default``, which is migrated and has no history, one of so many runs and events. It ends now."""
    if not demo_is_there():
        demo.load("default", rows=20, tenants=2)
    people = _people()
    patterns = _patterns(people[0])
    copies = _copy_runs(patterns, people, runs - len(patterns))
    _rewrite_trail(patterns, copies, people, events)


def demo_is_there() -> bool:
    with connections["default"].cursor() as cursor:
        cursor.execute("select exists (select from public.memory_chunks)")
        return bool(cursor.fetchone()[0])


def _people() -> list[User]:
    people = User.objects.bulk_create(
        User(username=f"person-{number}", password="!", is_staff=True) for number in range(1, PEOPLE + 1)
    )
    groups = Group.objects.filter(name__in=["requester", "approver", "executor"])
    for person in people:
        person.groups.set(groups)
    return people


def _patterns(asker: User) -> list[Run]:
    """One of each kind that leaves the table where it was, signed and closed where that takes people."""
    history.notice("default")
    requester = Requester(name=asker.get_username(), user=asker, origin=Run.Origin.CONSOLE)

    def run(plan: Any) -> Run:
        asked = submit(plan, requester=requester, reason="INC-1: recall is wrong", seen_digest=plan.digest)
        advance(asked.pk)
        asked.refresh_from_db()
        assert asked.state == Run.State.DONE, asked.error
        return asked

    guided = run(plan_rollback("default", emergency=False))
    undone = run(plan_undo(guided))
    emergency = run(plan_rollback("default", emergency=True))
    patterns = [guided, undone, emergency, run(plan_undo(emergency)), run(plan_backup("default"))]
    for rollback in (guided, emergency):
        for number in SIGNED_BY_PEOPLE:
            signing.sign(rollback, number, by=asker)
    signing.close(guided, by=asker, note="All is well")
    return patterns


def _copy_runs(patterns: list[Run], people: list[User], wanted: int) -> list[Run]:
    """The oldest first. Three of ten are closed: people forget the others."""
    now, copies = timezone.now(), []
    for number in range(wanted):
        pattern, asker = patterns[number % len(patterns)], people[number % PEOPLE]
        run = _copy(pattern, key=uuid.uuid4(), requester=asker, requester_name=asker.get_username())
        run.requester_key, run.approvals_needed, run.nonce = f"user:{asker.pk}", 1, None
        run.approver_groups, run.starter_name = "approver", asker.get_username()
        run.journal_entry = None if pattern.journal_entry is None else 1_000_000 + number
        _shift(run, (now - YEAR * (wanted - number) / wanted) - pattern.requested_at)
        copies.append(run)
    copies = Run.objects.bulk_create(copies)
    # Only a run that comes later has a number to point at.
    for run, pattern, before in zip(copies, _endless(patterns, wanted), [None, *copies], strict=False):
        if pattern.undoes_id:
            run.undoes = before
    Run.objects.bulk_update(copies, ["undoes"], batch_size=200)
    pairs = [(run, pattern) for run, pattern in zip(copies, _endless(patterns, wanted), strict=True)]
    for model in (Step, Backup):
        model.objects.bulk_create(_of_runs(model, pairs), batch_size=500)
    QuarantinedTable.objects.bulk_create(_of_runs(QuarantinedTable, pairs, backup=None), batch_size=500)
    SignOff.objects.bulk_create(_of_runs(SignOff, pairs), batch_size=500)
    RunClosing.objects.bulk_create(_of_runs(RunClosing, pairs), batch_size=500)
    _approve(copies, people)
    return copies


def _approve(copies: list[Run], people: list[User]) -> None:
    # Nobody can approve of a run that has ended.
    with guard_off("memops_console_approval", "memops_approval_guard"):
        Approval.objects.bulk_create(
            Approval(
                run=run,
                requester_key=run.requester_key,
                digest=run.digest,
                decision=Approval.Decision.APPROVED,
                approver=approver,
                approver_key=f"user:{approver.pk}",
                approver_name=approver.get_username(),
                comment="I have read the plan.",
            )
            for number, run in enumerate(copies)
            for approver in [people[(number + 1) % PEOPLE]]
        )


def _endless(patterns: list[Run], wanted: int) -> list[Run]:
    return [patterns[number % len(patterns)] for number in range(wanted)]


def _of_runs(model: type[Any], pairs: list[tuple[Run, Run]], **changes: Any) -> list[Any]:
    """What hangs on the patterns, for every copy."""
    of_pattern: dict[int, list[Any]] = {}
    for one in model.objects.filter(run__in={pattern.pk for _, pattern in pairs}):
        of_pattern.setdefault(one.run_id, []).append(one)
    copies = []
    for run, pattern in pairs:
        for one in of_pattern.get(pattern.pk, ()):
            copied = _copy(one, run=run, **changes)
            _shift(copied, run.requested_at - pattern.requested_at)
            copies.append(copied)
    return copies


def _copy(one: Any, **changes: Any) -> Any:
    values = {field.attname: getattr(one, field.attname) for field in one._meta.concrete_fields}
    values[one._meta.pk.attname] = None
    copied = type(one)(**values)
    for name, value in changes.items():
        setattr(copied, name, value)
    return copied


def _shift(one: Model, by: timedelta) -> None:
    for field in one._meta.concrete_fields:
        value = getattr(one, field.attname)
        if isinstance(value, datetime):
            setattr(one, field.attname, value + by)


def _rewrite_trail(patterns: list[Run], copies: list[Run], people: list[User], events: int) -> None:
    """Everything anew, in the order of time, with an anchor after each run as the product has it."""
    real = list(trail.events())
    of_run: dict[str, list[dict[str, str]]] = {}
    for event in real:
        of_run.setdefault(event["run"], []).append(event)
    wanted = _in_order(patterns, copies, of_run, people, events)
    settings.MEMOPS_ANCHORS.unlink(missing_ok=True)
    settings.MEMOPS_ANCHORS.parent.mkdir(parents=True, exist_ok=True)
    with (
        guard_off("audit_event", "audit_event_chain"),
        guard_off("audit_event", "audit_event_rows"),
        settings.MEMOPS_ANCHORS.open("w") as anchored,
        connections["default"].cursor() as cursor,
    ):
        cursor.execute("delete from public.audit_event")
        with cursor.copy(COPY) as copy:
            for event in _chained(wanted):
                copy.write_row([event[name] or (None if name == "run" else "") for name in COLUMNS])
                if event["action"] == "run.ended":
                    head = anchors.signed(int(event["sequence"]), event["hash"])
                    anchored.write(f"{json.dumps(head)}\n")
    with connections["default"].cursor() as cursor:
        cursor.execute("vacuum (analyze)")


def _in_order(
    patterns: list[Run],
    copies: list[Run],
    of_run: dict[str, list[dict[str, str]]],
    people: list[User],
    wanted: int,
) -> Iterator[dict[str, Any]]:
    """What belongs to no run is the oldest; then each run has its events, and the days between them theirs."""
    chance = random.Random("memops")
    runs = [*zip(copies, _endless(patterns, len(copies)), strict=True), *((run, run) for run in patterns)]
    began = timezone.now() - YEAR
    count = 0
    for event in of_run.get("", []):
        count += 1
        yield event | {"at": began}
    for number, (run, pattern) in enumerate(runs, 1):
        own = of_run[str(pattern.pk)]
        shift = run.requested_at - pattern.requested_at
        for event in own:
            count += 1
            changes = {"run": str(run.pk), "at": _moment(event["at"]) + shift}
            if event["object_type"] == "run":
                changes["object_id"] = str(run.pk)
            if event["actor"] != "memops":
                changes["actor"] = run.requester_name
            yield event | changes
        until = runs[number][0].requested_at if number < len(runs) else timezone.now()
        since = run.ended_at or run.requested_at
        filling = round(wanted * number / len(runs)) - count
        for place in range(filling):
            count += 1
            yield _every_day(chance, people, since + max(until - since, timedelta()) * place / filling)


def _every_day(chance: random.Random, people: list[User], at: datetime) -> dict[str, Any]:
    action, object_type, object_id, details = chance.choice(EVERY_DAY)
    # Some people are there every day, and some hardly ever.
    person = people[min(int(chance.paretovariate(0.8)) - 1, PEOPLE - 1)]
    return {
        "at": at,
        "actor": person.username,
        "action": action,
        "object_type": object_type,
        "object_id": object_id,
        "run": "",
        "target": "default" if action == "run.not_accepted" else "",
        "details": json.dumps(details, sort_keys=True, separators=(",", ":")),
        "request_id": f"{chance.getrandbits(128):032x}",
        "address": f"10.0.{chance.randrange(4)}.{chance.randrange(250)}",
    }


def _chained(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, str]]:
    previous = verify_export.START
    for sequence, event in enumerate(events, 1):
        at = f"{event['at'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        linked = event | {"sequence": str(sequence), "previous": previous, "at": at}
        previous = verify_export.digest(linked)
        yield linked | {"hash": previous}


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
