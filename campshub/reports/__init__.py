"""Reports: asked for, made in the background, kept for a while, fetched by a signed link that schedules e-mail."""
