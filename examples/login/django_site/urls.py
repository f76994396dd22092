"""The paths of the site, with the methods that each takes."""

from django.urls import path
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.static import serve

from examples.login.config import STATIC_FOLDER
from examples.login.django_site import views


show_or_check = require_http_methods(["GET", "POST"])

urlpatterns = [
    path("login", show_or_check(views.log_in)),
    path("login/sms", show_or_check(views.check_sms_code)),
    path("login/sms/send", require_POST(views.send_sms_code)),
    path("login/app", show_or_check(views.check_app_code)),
    path("login/recovery", show_or_check(views.check_recovery_code)),
    path("logout", require_POST(views.log_out)),
    path("", require_GET(views.show_account)),
    path("account/app", show_or_check(views.begin_enrollment)),
    path("account/app/confirm", require_POST(views.confirm_enrollment)),
    path("account/app/remove", require_POST(views.remove_authenticator)),
    path("account/recovery-codes", require_POST(views.create_recovery_codes)),
    # A real site lets its proxy serve these.
    path("static/<path:path>", require_GET(serve), {"document_root": STATIC_FOLDER}),
]
