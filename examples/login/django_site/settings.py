"""The settings that matter for a login. A real site has more: a database, users, logging."""

import os
import secrets

from examples.login.config import TEMPLATE_FOLDER, load_config


LOGIN_CONFIG = load_config(os.environ)

DEBUG = False
# One process, whose sessions are in its memory, needs no key that survives it. Others need a fixed one.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secrets.token_urlsafe(50)
ALLOWED_HOSTS = LOGIN_CONFIG.hosts
ROOT_URLCONF = "examples.login.django_site.urls"
APPEND_SLASH = False
USE_TZ = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024

MIDDLEWARE = [
    "examples.login.django_site.middleware.LoginMiddleware",  # first: its headers are on every page
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]

# On the server: with "signed_cookies" the browser would hold the values. "cache" is the memory of this
# process here; "db", or a cache that processes share, is for more of them.
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
SESSION_COOKIE_AGE = 8 * 3600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "examples.login.django_site.views.refuse_old_form"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LOGIN_CONFIG.is_https
if LOGIN_CONFIG.is_https:
    # __Host- means: https alone, this host alone, so that no subdomain can plant one.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-session", "__Host-csrf"
    # Behind a proxy that speaks http to this site, Django needs SECURE_PROXY_SSL_HEADER too.

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",  # it escapes every value
        "DIRS": [TEMPLATE_FOLDER],
        "OPTIONS": {"trim_blocks": True, "lstrip_blocks": True},
    }
]
