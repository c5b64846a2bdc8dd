"""The freshness checker: writers and readers on the real stack, under one fault after the other.

``docs/freshness.md`` says what it checks, and ``make check-freshness`` runs it.
"""
