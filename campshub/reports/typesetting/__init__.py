"""Typesetting: documents to PDF by Typst, in child processes that read templates and fonts and nothing else."""
