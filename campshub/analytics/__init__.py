"""Analytics of attendance: rates, streaks, heat maps, punctuality, charts, students at risk, and alerts."""
