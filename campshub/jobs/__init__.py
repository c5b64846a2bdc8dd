"""The API of background jobs: progress, result, and cancelling."""
