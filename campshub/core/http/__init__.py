"""HTTP: everything that each request passes through, in one order."""
