"""The console: Django's admin with pages of its own. Doors only; the site registers what is listed in ``site.py``."""
