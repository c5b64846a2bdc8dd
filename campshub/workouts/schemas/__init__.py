"""The request and response schemas of exercises and workout logs."""
