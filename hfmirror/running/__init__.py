"""A command of the person is run, and what it leaves is released; see ``running``."""
