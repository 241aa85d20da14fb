"""The repositories of a Hub: which there are, and what they were called before."""
