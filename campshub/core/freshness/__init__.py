"""The freshness protocol: stamps, leases, epochs, repairs, and which replica may serve a read."""
