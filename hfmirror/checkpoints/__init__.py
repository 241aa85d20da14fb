"""How does a torch checkpoint become a folder that others can load? Read without running it, written as plain files."""
