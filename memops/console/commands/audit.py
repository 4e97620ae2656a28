"""``memops audit``: check the chain of the audit trail, anchor it elsewhere, export it, and go on after a break."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from memops.console.audit import anchors, checking, exporting, verify_export
from memops.console.audit.acting import account
from memops.console.characters import quoted
from memops.console.commands import Exit
from memops.console.commands.arguments import file
from memops.console.commands.output import Output
from memops.console.errors import ConfirmationMissing, ExportNotBegun, ExportUnwritable
from memops.console.runs.request import readable_reason

HELP = "verify, anchor or export the audit trail, or print the program that verifies an export"

VERBS = ("verify", "export", "anchor", "accept", "key", "verifier")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=VERBS)
    parser.add_argument(
        "--anchor",
        metavar="FILE",
        type=file,
        action="append",
        default=[],
        help="verify: a file of anchors, a backup's manifest or an earlier export, kept elsewhere",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=file, help="export: a new file, mode 0600; default: standard output"
    )
    parser.add_argument("--post", action="store_true", help="anchor: send it to MEMOPS_ANCHOR_WEBHOOK as well")
    parser.add_argument("--reason", help="accept: why the trail is trusted again; it keeps that for ever")


def run(options: argparse.Namespace, out: Output) -> int:
    verbs = {
        "verify": _verify,
        "export": _export,
        "anchor": _anchor,
        "accept": _accept,
        "key": _key,
        "verifier": _verifier,
    }
    return verbs[options.what](options, out)


def _verify(options: argparse.Namespace, out: Output) -> int:
    found = checking.whole(options.anchor)
    for sentence in found.sentences:
        out.say(sentence, style="" if found.holds else "red")
    for hint in found.hints:
        out.say(hint)
    out.result(
        holds=found.holds,
        sequence=found.verdict.sequence,
        head=found.verdict.hash if not found.verdict.wrong else None,
        kind=found.verdict.kind,
        wrong=found.verdict.wrong,
        triggers=found.triggers,
        anchors=found.anchors,
    )
    return Exit.DONE if found.holds else Exit.FAILED


def _export(options: argparse.Namespace, out: Output) -> int:
    where = str(options.output or "standard output")
    try:
        if options.output:
            descriptor = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        else:
            descriptor = os.dup((sys.stderr if out.as_json else sys.stdout).fileno())
    except OSError as error:
        raise ExportNotBegun(file=quoted(where), problem=_problem(error)) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as export:
            for line in exporting.lines(to=where):
                export.write(line)
                last = line
    except OSError as error:
        raise ExportUnwritable(file=quoted(where), problem=_problem(error)) from error
    head = json.loads(last)["head"]
    if options.output:
        out.say(f"{head['sequence']} events are in {where}; its last line is the signed head.")
    out.result(events=head["sequence"], head=head["hash"], output=options.output and where)
    return Exit.DONE


def _problem(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _anchor(options: argparse.Namespace, out: Output) -> int:
    head = anchors.post() if options.post else anchors.anchor()
    if head is None:
        out.say("The trail has no event yet, so there is nothing to anchor.")
    else:
        out.say(f"Anchored: {head['head']['sequence']} events, head {head['head']['hash']}.")
        if options.post:
            out.say("The webhook has taken it.")
    out.result(anchor=head)
    return Exit.DONE


def _accept(options: argparse.Namespace, out: Output) -> int:
    if options.reason is None:
        raise ConfirmationMissing(target="default", what="--reason")
    problem = anchors.accept(reason=readable_reason(options.reason), actor=account())
    out.say(f"What was wrong: {problem}." if problem else "Nothing was wrong with the trail.")
    out.say("It is anchored as it is now, and says so. Runs can be started again.")
    out.result(problem=problem)
    return Exit.DONE


def _key(options: argparse.Namespace, out: Output) -> int:
    if out.as_json:
        out.result(key=anchors.public_key())
    else:
        out.raw(anchors.public_key())
    return Exit.DONE


def _verifier(options: argparse.Namespace, out: Output) -> int:
    text = Path(verify_export.__file__).read_text(encoding="utf-8")
    if out.as_json:
        out.result(program=text)
    else:
        out.raw(text.rstrip("\n"))
    return Exit.DONE
