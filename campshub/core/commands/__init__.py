"""What flask commands of several modules share."""
