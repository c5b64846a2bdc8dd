"""Tables, sessions, tenancy: one transaction per request or job, opened and committed at the edge."""
