"""What requests and responses of analytics contain."""
