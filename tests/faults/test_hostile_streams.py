"""What does not fit into an argument, or cannot be one: passwords and codes on standard input, files, the bytes of a
shell, a terminal that cannot show everything."""

import json

import pytest

from tests.faults import hostile
from tests.faults.hostile import KIND
from tests.postgres.people import PASSWORD

PASSWORDS = {
    "nothing": b"",
    "an empty line": b"\n",
    "not UTF-8": b"\xff\xfe\n",
    "NUL": b"a\0b\n",
    "10 MB": b"x" * hostile.TEN_MEGABYTES,
    "too long": PASSWORD.encode() + b" " * 5000,
    "a terminal escape": b"\x1b[2J\n",
    "SQL": b"'; drop table auth_user; --\n",
    "a direction override": "\u202e\n".encode(),
}
CODES = {
    "nothing": b"",
    "NUL": b"000000\0",
    "10 MB": b"0" * hostile.TEN_MEGABYTES,
    "not UTF-8": b"\xff",
    "digits of another script": "\u0661\u0662\u0663\u0664\u0665\u0666".encode(),
    "minus one": b"-00001",
    "a direction override": "\u202e123456".encode(),
}
FILES: dict[str, bytes | None] = {
    "10 MB of one line": b"x" * hostile.TEN_MEGABYTES,
    "10 MB of lines": b"- x\n" * (hostile.TEN_MEGABYTES // 4),
    "nothing": b"",
    "not UTF-8": b"## A\n- \xff\n",
    "a byte order mark": b"\xef\xbb\xbf## A\n- x\n",
    "NUL": b"## A\n- a\0b\n",
    "a terminal escape": b"## A\n- \x1b[2J\n",
    "a direction override": "## A\n- \u202edef\n".encode(),
    "JSON": b'{"head": 1}\n',
    "JSON that is nested without end": b"[" * 100_000 + b"\n",
    "JSON of a number": b"7\n",
    "a number of many digits": b'{"head": {"sequence": ' + b"9" * 5000 + b', "hash": "x"}}\n',
    "brackets": b"## A\n- " + b"[" * 50_000 + b"\n",
    "a folder": None,
}


def test_a_password_that_is_none_lets_nobody_in(ready, shell, fault) -> None:
    with ready("approve") as (scene, use):
        before = scene.snapshot()
        for what, typed in PASSWORDS.items():
            with fault(KIND):
                ended = shell("approve", *use, "--password-stdin", typed=typed)

                ended.assert_refused(what, codes=(3,))
                assert scene.snapshot() == before, what


def test_a_code_that_is_none_lets_nobody_in(ready, shell, settings, fault) -> None:
    with ready("approve") as (scene, use):
        settings.MEMOPS_SECOND_FACTOR = "required"
        before = scene.snapshot()
        for what, typed in CODES.items():
            with fault(KIND):
                ended = shell("approve", *use, typed=b"%s\n%s\n" % (PASSWORD.encode(), typed))

                ended.assert_refused(what, codes=(3,))
                assert scene.snapshot() == before, what


@pytest.mark.parametrize(("verb", "option"), [("checklist-template", "--import"), ("audit", "--anchor")])
def test_a_file_with_something_else_in_it_is_refused(verb, option, ready, shell, fault) -> None:
    with ready(verb) as (scene, use):
        before = scene.snapshot()
        for what, content in FILES.items():
            file = shell.folder / what
            file.mkdir() if content is None else file.write_bytes(content)
            with fault(KIND):
                ended = shell(verb, *[str(file) if use[at - 1] == option else word for at, word in enumerate(use)])

                ended.assert_refused(what, codes=(2,))
                assert scene.snapshot() == before, what


def test_with_json_a_refusal_is_one_object(ready, shell, fault) -> None:
    kinds = {
        "NoSuchRun": ["run", "9223372036854775807"],
        "UnknownTarget": ["status", "--target=\x1b[2J\u202e"],
        "ArgumentUnreadable": ["second-factor", hostile.NOT_UTF8.text],
    }
    with ready("status"):
        for kind, arguments in kinds.items():
            with fault(KIND):
                ended = shell(*arguments, "--json")

                ended.assert_refused(kind)
                assert json.loads(ended.out)["error"]["kind"] == kind


def test_a_shell_gets_the_same_answer(ready, shell, fault) -> None:
    """It cannot hand over a NUL: an argument of the system ends there."""
    processes: dict[str, tuple[list[bytes], int]] = {
        "a target that is not UTF-8": ([b"status", b"--target", b"a\xff\xfeb"], 2),
        "a name that is not UTF-8": ([b"second-factor", b"\xed\xa0\x80", b"--json"], 2),
        "as long as it may be": ([b"backup", b"--quarantined", b"x" * 131_000], 2),
        "a verb with an escape": ([b"\x1b[2J"], 2),
        "a file that is not UTF-8": ([b"audit", b"verify", b"--anchor", b"\xff"], 2),
        "a password that is not UTF-8": ([b"reject", b"RUN", b"--as", b"olga", b"--comment", b"no"], 3),
    }
    with ready("approve") as (scene, use):
        before = scene.snapshot()
        for what, (words, code) in processes.items():
            with fault(KIND):
                arguments = [use[0].encode() if word == b"RUN" else word for word in words]
                ended = shell.process(*arguments, typed=b"\xff\n")

                ended.assert_refused(what, codes=(code,))
                assert scene.snapshot() == before, what


def test_a_terminal_that_has_no_sign_for_it_gets_its_number(ready, shell, fault) -> None:
    with ready("plan"), fault(KIND):
        ended = shell.process(b"plan", b"rollback", PYTHONIOENCODING="ascii")

        assert (ended.code, ended.err) == (0, "")
        assert "\\u2192" in ended.out
