"""What is configured, and where it is kept."""
