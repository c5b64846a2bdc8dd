"""What the addresses of exercises and workout logs take and show."""
