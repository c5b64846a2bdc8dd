"""Shared parts of the flask commands."""
