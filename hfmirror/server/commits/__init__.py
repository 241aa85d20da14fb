"""A commit over REST: what clients send, the tree it makes, and the one ref that moves."""
