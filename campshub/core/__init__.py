"""The framework that all modules use; it imports none of them."""
