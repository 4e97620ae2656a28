import pytest

# What it asserts is explained as in a test.
pytest.register_assert_rewrite("tests.faults.ground", "tests.faults.disturbed")
