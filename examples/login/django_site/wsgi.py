"""The WSGI application."""

import os

from django.core.wsgi import get_wsgi_application

from examples.login.django_site.views import get_site


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.login.django_site.settings")

application = get_wsgi_application()
get_site()  # now: two first requests at the same time would make two
