"""Requesting, rendering, delivering and removing reports."""
