"""Fields, rows and error messages of request and response schemas."""
