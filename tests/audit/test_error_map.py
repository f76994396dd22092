"""core/errors.py lists every error of the audit package."""

import importlib
import inspect
import pkgutil
import re

from otp_service import audit
from otp_service.core import errors


def test_every_error_of_the_package_is_in_the_docstring_of_core_errors() -> None:
    """Each has a name that ends in Error; private ones do not leave their module."""
    modules = pkgutil.walk_packages(audit.__path__, f"{audit.__name__}.")
    defined = {
        name
        for module in modules
        for name, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if issubclass(value, Exception)
        and value.__module__ == module.name
        and not name.startswith("_")
    }
    _, roots = (errors.__doc__ or "").split("Errors of the audit package")

    assert defined == set(re.findall(r"^ +([A-Z]\w+Error)\b", roots, re.MULTILINE))
