"""Writes of leave: requests and their attachments."""
