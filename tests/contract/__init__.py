"""The HTTP contract, as a caller sees it. It is a package so that what its tests share ends with them."""
