"""Reads of organizations, users and credentials."""
