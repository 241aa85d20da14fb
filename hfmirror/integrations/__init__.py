"""How does a training release what it saves? Callbacks of trainers, and ``training_run`` for a loop of one's own."""
