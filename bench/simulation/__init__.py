"""Ten thousand logins on a bad day of three providers that do not exist; see README.md."""
