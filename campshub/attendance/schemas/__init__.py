"""The request and response schemas of attendance."""
