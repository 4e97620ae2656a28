"""The environment: what it may say, and that all its mistakes are told at once, without giving a secret away."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from project.environment import CONNECTION, SettingsInvalid, decoded_key, kept_secret

CLONE = Path(__file__).resolve().parent.parent.parent
KEY, OTHER_KEY = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))

DEPLOYMENT = {
    "MEMOPS_MODE": "deployment",
    "SECRET_KEY": "a very long and hopefully random text of 50 characters",
    "ALLOWED_HOSTS": "memops.example.org, memops.example.com",
    "DATABASE_URL": "postgresql://owner@database.example.org/memops",
    "MEMORY_TENANT_HMAC_KEY": KEY,
    "MEMORY_ENCRYPTION_KEY": OTHER_KEY,
}

SHOW = """
import json, sys
from project import settings
print(json.dumps({name: getattr(settings, name) for name in dir(settings) if name.isupper()}, default=repr))
"""


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def settings_of(home):
    """What a new process makes of an environment: its settings, as JSON can say them."""

    def read(**variables):
        environment = {"PATH": os.environ["PATH"], "MEMOPS_HOME": str(home), **variables}
        shown = subprocess.run(
            [sys.executable, "-c", SHOW], cwd=CLONE, env=environment, capture_output=True, check=True
        )
        return json.loads(shown.stdout)

    return read


@pytest.fixture
def refused(home):
    """What manage.py says about an environment that it refuses: lines on standard error, and the exit code is 2."""

    def read(**variables):
        environment = {"PATH": os.environ["PATH"], "MEMOPS_HOME": str(home), **variables}
        command = [sys.executable, "manage.py", "memops", "status"]
        done = subprocess.run(command, cwd=CLONE, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[0] == "The settings in the environment cannot be used:"
        assert not home.exists()
        return [line.strip() for line in done.stderr.splitlines()[1:]]

    return read


def test_without_any_variable_it_is_the_embedded_server_with_keys_of_its_own(settings_of, home):
    settings = settings_of()

    assert settings["MEMOPS_EMBEDDED"] is True
    assert settings["MEMOPS_TARGETS"] == ["default"]
    database = settings["DATABASES"]["default"]
    assert (database["NAME"], database["USER"]) == ("memops", "memops_owner")
    assert database["HOST"] == str(home / "pgdata")
    assert settings["DEBUG"] is False
    assert settings["MEMOPS_ANN_INDEXES"] == ["hnsw"]
    assert settings["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert settings["MEMOPS_BACKUP_DIR"] == repr(home / "backups")
    for name in ("secret_key", "tenant_hmac_key", "encryption_key"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    again = settings_of()
    assert [again[name] for name in ("SECRET_KEY", "MEMORY_TENANT_HMAC_KEY", "MEMORY_ENCRYPTION_KEY")] == [
        settings[name] for name in ("SECRET_KEY", "MEMORY_TENANT_HMAC_KEY", "MEMORY_ENCRYPTION_KEY")
    ]


def test_reading_the_settings_starts_no_server(settings_of, home):
    settings_of()

    assert sorted(path.name for path in home.iterdir()) == [
        "audit_key",
        "encryption_key",
        "secret_key",
        "tenant_hmac_key",
    ]


def test_targets_come_from_their_own_variables_and_from_the_list(settings_of):
    settings = settings_of(
        DATABASE_URL="postgres://owner:p%40ss@one.example.org:6432/memops?sslmode=require",
        PRODUCTION_DATABASE_URL="postgresql:///memories?host=/run/postgresql",
        MEMOPS_TARGETS="shard_1=postgresql://owner@two.example.org/a, shard_2=postgresql://owner@two.example.org/b,",
    )

    assert settings["MEMOPS_EMBEDDED"] is False
    assert settings["MEMOPS_TARGETS"] == ["default", "production", "shard_1", "shard_2"]
    default, production = settings["DATABASES"]["default"], settings["DATABASES"]["production"]
    assert (default["HOST"], default["PORT"], default["PASSWORD"]) == ("one.example.org", 6432, "p@ss")
    assert default["OPTIONS"] == {**CONNECTION, "sslmode": "require", "application_name": "memops"}
    assert (production["HOST"], production["NAME"]) == ("/run/postgresql", "memories")
    assert settings["DATABASES"]["shard_2"]["NAME"] == "b"
    assert {database["ENGINE"] for database in settings["DATABASES"].values()} == {"django.db.backends.postgresql"}


def test_a_server_that_vanishes_is_noticed_within_half_a_minute_unless_the_url_says_otherwise(settings_of):
    settings = settings_of(
        DATABASE_URL="postgresql://owner@one.example.org/memops",
        STAGING_DATABASE_URL="postgresql://owner@two.example.org/memops?keepalives_idle=300&tcp_user_timeout=0",
    )

    options = settings["DATABASES"]["default"]["OPTIONS"]
    silence = options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"]
    assert (options["keepalives"], silence, options["tcp_user_timeout"]) == (1, 30, 30_000)
    options = settings["DATABASES"]["staging"]["OPTIONS"]
    assert (options["keepalives_idle"], options["tcp_user_timeout"]) == (300, 0)
    assert options["keepalives_count"] == CONNECTION["keepalives_count"]


def test_an_empty_list_of_ann_indexes_means_none(settings_of):
    assert settings_of(MEMOPS_ANN_INDEXES="")["MEMOPS_ANN_INDEXES"] == []
    assert settings_of(MEMOPS_ANN_INDEXES="hnsw, IVFFlat")["MEMOPS_ANN_INDEXES"] == ["hnsw", "ivfflat"]


def test_numbers_have_their_units(settings_of):
    settings = settings_of(
        MEMOPS_LOCK_TIMEOUT_MS="150", MEMOPS_LOCK_BUDGET_SECONDS="2.5", MEMOPS_MAINTENANCE_WORK_MEM="67108864"
    )

    assert settings["MEMOPS_LOCK_TIMEOUT"] == "datetime.timedelta(microseconds=150000)"
    assert settings["MEMOPS_LOCK_BUDGET"] == "datetime.timedelta(seconds=2, microseconds=500000)"
    assert settings["MEMOPS_MAINTENANCE_WORK_MEM_BYTES"] == 64 * 2**20


def test_deployment_makes_up_no_key_but_that_of_the_audit_trail(settings_of, home):
    settings_of(**DEPLOYMENT)

    assert [path.name for path in home.iterdir()] == ["audit_key"]
    assert (home / "audit_key").stat().st_mode & 0o777 == 0o600


def test_deployment_is_strict_and_makes_no_keys(settings_of, home):
    settings = settings_of(**DEPLOYMENT, MEMOPS_TRUST_PROXY="1", MEMOPS_AUDIT_KEY=KEY)

    assert settings["DEBUG"] is False
    assert settings["ALLOWED_HOSTS"] == ["memops.example.org", "memops.example.com"]
    for switch in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT"):
        assert settings[switch] is True
    assert settings["SECURE_HSTS_SECONDS"] > 0
    assert settings["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"]
    assert settings["MEMORY_TENANT_HMAC_KEY"] == repr(b"\x01" * 32)
    assert not home.exists()


def test_a_proxy_is_not_trusted_unless_told(settings_of):
    assert "SECURE_PROXY_SSL_HEADER" not in settings_of(**DEPLOYMENT)


def test_deployment_demands_what_development_makes_up(refused):
    problems = refused(MEMOPS_MODE="deployment", MEMOPS_DEBUG="1")

    named = [problem.split()[0] for problem in problems]
    assert named == [
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "DATABASE_URL",
        "MEMORY_TENANT_HMAC_KEY",
        "MEMORY_ENCRYPTION_KEY",
        "MEMOPS_DEBUG",
    ]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "off"),
        ({"MEMOPS_SECOND_FACTOR": "required"}, "required"),
        ({"DATABASE_URL": DEPLOYMENT["DATABASE_URL"]}, "required"),
        ({"DATABASE_URL": DEPLOYMENT["DATABASE_URL"], "MEMOPS_SECOND_FACTOR": "off"}, "off"),
        ({"PRODUCTION_DATABASE_URL": DEPLOYMENT["DATABASE_URL"]}, "required"),
        (DEPLOYMENT, "required"),
    ],
)
def test_a_second_factor_is_asked_for_wherever_there_is_more_than_the_embedded_server(settings_of, variables, expected):
    assert settings_of(**variables)["MEMOPS_SECOND_FACTOR"] == expected


def test_a_deployment_does_without_no_second_factor(refused):
    assert refused(**DEPLOYMENT, MEMOPS_SECOND_FACTOR="off") == [
        "MEMOPS_SECOND_FACTOR cannot be off with MEMOPS_MODE=deployment."
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MEMOPS_MODE", "production"),
        ("MEMOPS_BIND", "8000"),
        ("MEMOPS_BIND", "localhost:http"),
        ("MEMOPS_BIND", "http://localhost:8000"),
        ("MEMOPS_BIND", "localhost:70000"),
        ("MEMOPS_EMBEDDING_DIM", "0"),
        ("MEMOPS_EMBEDDING_DIM", "2001"),
        ("MEMOPS_EMBEDDING_DIM", "many"),
        ("MEMOPS_ANN_INDEXES", "hnsw,diskann"),
        ("MEMOPS_APP_ROLE", "app; drop role"),
        ("MEMOPS_LOCK_TIMEOUT_MS", "-1"),
        ("MEMOPS_LOCK_TIMEOUT_MS", "0"),
        ("MEMOPS_LOCK_BUDGET_SECONDS", "-3"),
        ("MEMOPS_LOCK_BUDGET_SECONDS", "nan"),
        ("MEMOPS_LOCK_BUDGET_SECONDS", "0.1"),
        ("MEMOPS_MAINTENANCE_WORK_MEM", "1GB"),
        ("MEMOPS_DEBUG", "perhaps"),
        ("MEMOPS_SECOND_FACTOR", "perhaps"),
        ("SECRET_KEY", "short"),
        ("MEMORY_TENANT_HMAC_KEY", "not base64!"),
        ("MEMORY_ENCRYPTION_KEY", base64.b64encode(b"short").decode()),
        ("MEMORY_ENCRYPTION_KEY_OLD", base64.b64encode(b"x" * 33).decode()),
        ("MEMOPS_SCRATCH_URL", "sqlite:///scratch"),
        ("DATABASE_URL", "mysql://localhost/memops"),
        ("DATABASE_URL", "postgresql://localhost"),
        ("STAGING_DATABASE_URL", "memops"),
        ("MEMOPS_TARGETS", "postgresql://localhost/memops"),
        ("MEMOPS_TARGETS", "Shard-1=postgresql://localhost/memops"),
        ("MEMOPS_TARGETS", "default=postgresql://localhost/memops"),
        ("MEMOPS_TARGETS", "a=postgresql://localhost/memops,a=postgresql://localhost/other"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_variable(refused, variable, value):
    [problem] = refused(**{variable: value})

    assert problem.startswith(variable)


def test_all_mistakes_are_told_at_once(refused):
    problems = refused(MEMOPS_EMBEDDING_DIM="0", MEMOPS_LOCK_TIMEOUT_MS="x", MEMORY_ENCRYPTION_KEY="x")

    assert [problem.split()[0] for problem in problems] == [
        "MEMOPS_EMBEDDING_DIM",
        "MEMOPS_LOCK_TIMEOUT_MS",
        "MEMORY_ENCRYPTION_KEY",
    ]


def test_an_alias_that_two_variables_give_is_refused_with_both_names(refused):
    [problem] = refused(
        STAGING_DATABASE_URL="postgresql://localhost/memops", MEMOPS_TARGETS="staging=postgresql://localhost/memops"
    )

    assert problem == 'MEMOPS_TARGETS names the target "staging", which comes from STAGING_DATABASE_URL already.'


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:sesame@host:port/memops",
        "postgresql://owner:sesame@[host/memops",
        "postgresql://owner:ses[ame@host]/memops",
        "mysql://owner:sesame@host/memops",
        "owner:sesame@host/memops",
    ],
)
@pytest.mark.parametrize(
    "variable", ["DATABASE_URL", "PRODUCTION_DATABASE_URL", "MEMOPS_TARGETS", "MEMOPS_SCRATCH_URL"]
)
def test_a_refused_url_is_not_repeated(refused, variable, url):
    problems = refused(**{variable: f"shard={url}" if variable == "MEMOPS_TARGETS" else url})

    assert problems[0].startswith(variable)
    for secret in ("sesame", "ses[ame", "host", "owner"):
        assert secret not in " ".join(problems)


def test_a_home_that_cannot_be_made_is_said(home, tmp_path):
    home.write_text("a file, not a folder")
    environment = {"PATH": os.environ["PATH"], "MEMOPS_HOME": str(home)}

    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=CLONE, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "MEMOPS_HOME has to be a folder that can be written" in done.stderr


def test_approvals_are_rules_of_which_any_part_may_be_left_out(settings_of):
    settings = settings_of(
        PRODUCTION_DATABASE_URL="postgresql://o@h/d",
        MEMOPS_APPROVALS="*/*=2, production/rollback=3:approver+dba team@8,*/backup=0@12",
    )

    assert settings["MEMOPS_APPROVALS"] == [
        {"target": "*", "kind": "*", "needed": 2, "groups": None, "hours": None},
        {"target": "production", "kind": "rollback", "needed": 3, "groups": ["approver", "dba team"], "hours": 8.0},
        {"target": "*", "kind": "backup", "needed": 0, "groups": None, "hours": 12.0},
    ]


@pytest.mark.parametrize(
    "rules", ["2", "production=2", "*/rollback=-1", "*/drop=1", "*/rollback=two", "*/*=1:", "*/*=1@0", "*/*=1;*/undo=2"]
)
def test_a_rule_that_cannot_be_read_is_refused_with_an_example(refused, rules):
    assert refused(MEMOPS_APPROVALS=rules) == [
        "MEMOPS_APPROVALS has to be rules such as production/rollback=2 or */undo=1:approver+dba@8,"
        " with a comma between."
    ]


def test_a_rule_for_a_target_that_is_none_is_refused(refused):
    assert refused(MEMOPS_APPROVALS="*/*=1,prodution/rollback=2") == [
        "MEMOPS_APPROVALS has a rule for a target that is none: known are default, and *."
    ]


def test_what_stays_for_how_long_can_be_said(settings_of):
    settings = settings_of(MEMOPS_QUARANTINE_DAYS="7", MEMOPS_BACKUPS_KEEP="3", MEMOPS_APPROVALS="*/purge=2")

    assert settings["MEMOPS_QUARANTINE_KEEP"] == "datetime.timedelta(days=7)"
    assert (settings["MEMOPS_BACKUPS_KEEP"], settings["MEMOPS_BACKUPS_KEEP_FOR"]) == (3, "datetime.timedelta(days=90)")


def test_what_stays_for_how_long_is_said_in_whole_numbers(refused):
    assert refused(MEMOPS_QUARANTINE_DAYS="0", MEMOPS_BACKUPS_KEEP="none", MEMOPS_BACKUPS_KEEP_DAYS="1.5") == [
        "MEMOPS_QUARANTINE_DAYS has to be a whole number from 1 to 36500; it is 0.",
        "MEMOPS_BACKUPS_KEEP has to be a whole number from 1 to 100000; it is none.",
        "MEMOPS_BACKUPS_KEEP_DAYS has to be a whole number from 1 to 36500; it is 1.5.",
    ]


@pytest.mark.parametrize("text", [KEY, KEY.rstrip("="), base64.urlsafe_b64encode(b"\xff" * 32).decode(), f" {KEY}\n"])
def test_a_key_may_have_either_alphabet_and_no_padding(text):
    assert len(decoded_key(text)) == 32


@pytest.mark.parametrize("text", ["", "====", "é" * 44, KEY + KEY, KEY[:-4]])
def test_what_is_no_key_of_32_bytes_is_none(text):
    assert decoded_key(text) is None


def test_a_kept_secret_is_made_once(home):
    first = kept_secret(home / "secret", lambda: "first")
    second = kept_secret(home / "secret", lambda: "second")

    assert (first, second) == ("first", "first")
    assert [path.name for path in home.iterdir()] == ["secret"]


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_a_kept_secret_is_ours_alone_whatever_the_umask(home, umask):
    before = os.umask(umask)
    try:
        kept_secret(home / "more" / "secret", lambda: "secret")
    finally:
        os.umask(before)

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "more", home / "more" / "secret")]
    assert modes == [0o700, 0o700, 0o600]


def test_variables_of_libpq_that_would_lead_sessions_elsewhere_are_refused_without_their_values(refused):
    told = refused(
        DATABASE_URL="postgresql://owner:secret@one.example.org:5432/memops",
        PRODUCTION_DATABASE_URL="postgresql:///memories",
        PGHOST="planted", PGPORT="planted", PGOPTIONS="-c role=planted", PGSSLMODE="disable", PGDATESTYLE="planted",
        PGUSER="planted", PGPASSWORD="planted", PGSERVICE="planted", PGHOSTADDR="planted", PGDATABASE="planted",
    )  # fmt: skip

    assert {line.split()[0]: line.partition("connects to ")[2].partition(":")[0] for line in told} == {
        "PGHOST": "production", "PGPORT": "production", "PGUSER": "production", "PGPASSWORD": "production",
        "PGOPTIONS": "default, production", "PGSSLMODE": "default, production", "PGDATESTYLE": "default, production",
        "PGSERVICE": "default, production", "PGHOSTADDR": "default, production",
    }  # fmt: skip
    assert not any("planted" in line for line in told)


def test_variables_that_change_nothing_for_the_embedded_server_are_let_be(settings_of):
    settings_of(
        PGHOST="/nowhere", PGPORT="1", PGUSER="nobody", PGDATABASE="x", PGPASSWORD="x", PGPASSFILE="/x",
        PGSSLMODE="require", PGDATA="/x", PGTZ="Asia/Tokyo",
    )  # fmt: skip


@pytest.mark.parametrize("variable", ["PGOPTIONS", "PGHOSTADDR", "PGSERVICE", "PGDATESTYLE"])
def test_what_would_hide_the_embedded_server_is_refused(refused, variable):
    [told] = refused(**{variable: "planted"})

    assert told.startswith(f"{variable} is set, and would change how memops connects to default: unset it")


def test_the_message_names_every_problem():
    assert str(SettingsInvalid(["A is wrong.", "B too."])).splitlines()[1:] == ["  A is wrong.", "  B too."]
