"""What is remembered so that it need not be asked again, and never for longer than it is true."""
