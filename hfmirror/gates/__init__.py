"""What keeps a release from being made: secrets, pickles that run code, and what the Hub does not take."""
