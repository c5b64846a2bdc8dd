"""Demo data: two places that look lived in."""
