"""``make module``: write a new module with its tests, and its entries in the files that all modules share."""
