"""What CampsHub is measured against, and single parts of it; the same gunicorn configuration serves each."""
