"""A console with something of everything in it, in which ``olga`` may do all of it: for whoever types hostile texts."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import hashers

from memops.console.admin.sign_in import PROVED_AT
from tests.databases import clone_database, database_name, default_database, drop_database, fresh_database
from tests.postgres.people import ONE
from tests.postgres.test_mutating_urls import Scene


@dataclass(frozen=True)
class HostileConsole:
    """A database to copy, its anchors, and what olga's browser keeps."""

    database: str
    scene: Scene
    anchors: Path
    cookies: SimpleCookie


@pytest.fixture(scope="session")
def hostile_console(template_database, tmp_path_factory, django_db_blocker) -> Iterator[HostileConsole]:
    from django.conf import settings

    name, anchors = database_name("hostile"), tmp_path_factory.mktemp("hostile") / "anchors.jsonl"
    ours = _settings(settings) | {"MEMOPS_ANCHORS": anchors}
    before = {setting: getattr(settings, setting) for setting in ours}
    clone_database(name, template_database)
    with django_db_blocker.unblock(), default_database(name):
        _set(settings, ours)
        scene = Scene()
        _set(settings, before)
    yield HostileConsole(name, scene, anchors, deepcopy(scene.browser.cookies))
    drop_database(name)


def _settings(settings) -> dict[str, Any]:
    return {
        "MEMOPS_SECOND_FACTOR": "required",
        "MEMOPS_APPROVALS": ONE,
        "MIDDLEWARE": [*dict.fromkeys([*settings.MIDDLEWARE, "tests.faults.listening.ListeningMiddleware"])],
        # Passwords are typed hundreds of times here.
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    }


def _set(settings, values: dict[str, Any]) -> None:
    for setting, value in values.items():
        setattr(settings, setting, value)
    hashers.reset_hashers(setting="PASSWORD_HASHERS")  # They are kept, whatever the settings say since.


@pytest.fixture
def hostile_scenes(
    hostile_console, settings, tmp_path_factory, django_db_blocker
) -> Callable[[], AbstractContextManager[Scene]]:
    """Copies of the scene, one in the other or one after the other; olga has just signed in."""

    @contextmanager
    def fresh() -> Iterator[Scene]:
        folder = tmp_path_factory.mktemp("console")
        ours = {
            **_settings(settings),
            "MEMOPS_BACKUP_DIR": folder / "backups",
            "MEMOPS_ANCHORS": folder / "anchors.jsonl",
        }
        before = {setting: getattr(settings, setting) for setting in ours}
        _set(settings, ours)
        if hostile_console.anchors.exists():
            shutil.copy(hostile_console.anchors, settings.MEMOPS_ANCHORS)
        scene = hostile_console.scene
        with django_db_blocker.unblock(), fresh_database(hostile_console.database) as name, default_database(name):
            scene.browser.cookies = deepcopy(hostile_console.cookies)
            signed_in(scene, at=time.time())
            yield scene
        _set(settings, before)
        shutil.rmtree(folder)

    return fresh


@pytest.fixture
def hostile_scene(hostile_scenes) -> Iterator[Scene]:
    with hostile_scenes() as scene:
        yield scene


def signed_in(scene: Scene, *, at: float) -> None:
    """When olga has last proved who she is."""
    session = scene.browser.session
    session[PROVED_AT] = at
    session.save()
