"""The Python client. It is a package so that what its tests share ends with them."""
