"""Authentication, authorization, encryption and the audit log."""
