"""Background jobs as the API shows them: their progress, their result, and cancelling them."""
