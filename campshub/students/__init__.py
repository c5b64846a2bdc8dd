"""Students, groups, enrolments and rosters."""
