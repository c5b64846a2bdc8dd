"""The request and response schemas of accounts."""
