"""A login with a second factor: an SMS code, an authenticator app or a recovery code."""
