"""What the accounts' addresses take and show."""
