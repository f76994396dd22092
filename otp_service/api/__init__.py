"""The HTTP API: two applications, one for login back ends and one for operators."""
