"""The edge: what every request goes through, in one order."""
