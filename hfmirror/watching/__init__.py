"""What a training writes into a folder is released while it goes on."""
