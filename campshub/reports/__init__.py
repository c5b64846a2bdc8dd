"""Reports: requested, rendered in the background, stored for a while, and downloaded with a signed link."""
