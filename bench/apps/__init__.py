"""What CampsHub is measured against, and parts of it alone; each is served by the same gunicorn configuration."""
