"""Realistic demo data: by default two organizations."""
