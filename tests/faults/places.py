"""Every place of every kind of run where something can be killed: between two steps, and in the middle of one."""

import os

from memops.console.runs import kinds
from tests.faults import pauses

KINDS = {
    "guided": kinds.GUIDED,
    "emergency": kinds.EMERGENCY,
    "undo": kinds.UNDO,
    "backup": kinds.BACKUP,
    "verify": kinds.VERIFICATION,
    "purge": kinds.PURGE,
    "restore": kinds.RESTORE,
}
BOUNDARIES = [
    (kind, f"{step.name} {when}")
    for kind, steps in KINDS.items()
    for step in steps
    for when in (pauses.BEFORE, pauses.AFTER)
]
BETWEEN_STEPS = [(kind, place) for kind, place in BOUNDARIES if place.endswith(pauses.AFTER)]
"""Once for each boundary, for what makes no difference between a step that has ended and the next that begins."""
OF_A_KIND = {
    "move_back": "undo",
    **dict.fromkeys(("proof", "purge"), "purge"),
    **dict.fromkeys(("load", "bring_in", "build", "trial", "swap"), "restore"),
}
INSIDE = [(OF_A_KIND.get(place.step, "guided"), name) for name, place in pauses.INSIDE.items()]
EVERY_ONE = os.environ.get("EVERY_PLACE") == "yes"
"""`make test-faults` injects each fault of a kind at each place; otherwise each place has one of them."""
HAS_ENDED = ("the end is not in the trail", "the end is not anchored", "the first anchor is not in the trail")
"""Where the end of the run is recorded already."""
