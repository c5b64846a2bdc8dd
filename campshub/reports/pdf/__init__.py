"""A PDF of any length, page by page, in constant memory and in any script (docs/decisions/0018-reports.md)."""
