"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402  the settings are read above

from project import embedded  # noqa: E402

if settings.MEMOPS_EMBEDDED:
    embedded.start(settings.MEMOPS_HOME)
