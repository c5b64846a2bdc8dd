"""Students, the groups that they enrol in, and who is on a roster."""
