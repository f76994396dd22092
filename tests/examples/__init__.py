"""The example login. It is a package so that what its tests share ends with them."""
