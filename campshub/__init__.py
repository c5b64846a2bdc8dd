"""CampsHub: the self-hosted backend for campuses, camps and gyms."""

__version__ = "0.1.0"
