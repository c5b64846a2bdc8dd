"""The services: what every module stands on; it knows none of them."""
