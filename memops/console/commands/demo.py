"""``memops demo``: ``up``, with demo data and logins to try it with."""

from __future__ import annotations

import argparse
import json
import os
import secrets
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Group, Permission, User

from memops import demo
from memops.console import supervisor
from memops.console.commands import Exit, seed, up
from memops.console.commands.output import Output
from memops.console.errors import DemoInDeployment
from memops.errors import TableMissing

HELP = "start everything, with demo data and logins"

LOGINS = {
    "operator": "may do everything, but approve what they asked for themselves",
    "approver": "approves what others asked for",
    "viewer": "may look, and change nothing",
}


def configure(parser: argparse.ArgumentParser) -> None:
    up.configure(parser)
    parser.add_argument("--rows", type=seed.rows, default=10_000, help="rows of demo data (default: 10000)")


def run(options: argparse.Namespace, out: Output) -> int:
    if settings.MEMOPS_MODE == "deployment":
        raise DemoInDeployment()
    supervisor.refuse_taken(options.bind)
    up.prepare(out, deploy=True)
    try:
        if not demo.row_count("default"):
            seed.load("default", rows=options.rows, tenants=40, out=out)
    except TableMissing:
        pass  # It is rolled back, as prepare has said.
    passwords = logins()
    address = f"http://{options.bind}/"
    width = max(map(len, passwords))
    banner = "\n".join(
        [
            "",
            f"memops is ready: {address}",
            "",
            *(f"  {name:<{width}}  {password}  ({LOGINS[name]})" for name, password in passwords.items()),
            "",
            "Ctrl-C ends it all; make demo goes on from there.",
        ]
    )
    up.serve(options.bind, banner=banner, out=out)
    return Exit.DONE


def logins() -> dict[str, str]:
    """The demo's users, made or mended so that these passwords let them in. They are kept for the next start."""
    kept = Path(settings.MEMOPS_HOME) / "demo-logins.json"
    try:
        known = {str(name): str(password) for name, password in json.loads(kept.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        known = {}
    passwords = {name: known.get(name) or secrets.token_urlsafe(9) for name in LOGINS}
    if passwords != known:
        partial = kept.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(passwords, file)
        partial.rename(kept)
    for name, password in passwords.items():
        user, _ = User.objects.get_or_create(username=name)
        user.is_active = user.is_staff = True
        user.is_superuser = name == "operator"
        if not user.check_password(password):
            user.set_password(password)
        user.save()
    User.objects.get(username="approver").groups.add(Group.objects.get_or_create(name="approver")[0])
    viewer = User.objects.get(username="viewer")
    viewer.user_permissions.set(
        Permission.objects.filter(content_type__app_label="memops_console", codename__startswith="view_")
    )
    return passwords
