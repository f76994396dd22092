"""A service that issues one-time codes by SMS and says once whether the code is right."""

__version__ = "0.1.0"
