"""The freshness checker: writers and readers on the real stack, under one fault after the other.

``docs/checking-freshness.md`` says how to run it and how to read what it prints.
"""
