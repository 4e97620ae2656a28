"""A queue configuration that could execute a run twice, for ever, or not to its end, is refused at the start."""

import pytest
from django.conf import settings

from memops.console.checks import queue_faults


def test_the_projects_own_configuration_has_no_fault():
    assert queue_faults(settings.Q_CLUSTER) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sync": True}, "memops.E001"),
        ({"orm": None}, "memops.E002"),
        ({"orm": "staging"}, "memops.E002"),
        ({"timeout": 60}, "memops.E003"),
        ({"retry": 3600}, "memops.E004"),
        ({"timeout": None, "retry": 60}, "memops.E004"),
        ({"max_attempts": 0}, "memops.E005"),
        ({"ack_failures": False}, "memops.E006"),
        ({"bulk": 10}, "memops.E007"),
        ({"broker_class": None}, "memops.E008"),
    ],
)
def test_a_dangerous_setting_is_refused_and_the_check_says_what_to_set(change, fault):
    faults = queue_faults(settings.Q_CLUSTER | change)

    assert [found.id for found in faults] == [fault]
    assert faults[0].hint
