"""A PDF of any length, page by page, in constant memory and in any script (docs/decisions/0017-reports.md)."""
