"""What the addresses of attendance take and show."""
