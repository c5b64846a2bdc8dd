"""Who asks, what they may, and how what is secret is kept so."""
