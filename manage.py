#!/usr/bin/env python
"""Django's command line; starts the embedded server for the commands that may need it."""

import os
import sys

# These read no database; nor does `memops sql`, which has to work when the server cannot start.
WITHOUT_DATABASE = {"help", "version", "check", "collectstatic", "diffsettings", "findstatic", "startapp"}
ASKING_FOR_HELP = {"-h", "--help", "--version"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.conf import settings
    from django.core.management import execute_from_command_line

    from project import embedded
    from project.environment import SettingsInvalid

    command, options = (sys.argv[1] if len(sys.argv) > 1 else "help"), set(sys.argv[1:])
    try:
        reads_none = command in WITHOUT_DATABASE or sys.argv[1:3] == ["memops", "sql"] or options & ASKING_FOR_HELP
        needs_server = settings.MEMOPS_EMBEDDED and not reads_none
        if needs_server or (settings.MEMOPS_EMBEDDED and command == "check" and "--database" in options):
            embedded.start(settings.MEMOPS_HOME)
    except (SettingsInvalid, embedded.EmbeddedFailed) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
