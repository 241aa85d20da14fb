"""README.md as text: its front matter, the regions that are ours, and the words that are people's."""
