"""Typesetting: documents to PDF with Typst, in child processes that read only templates and fonts."""
