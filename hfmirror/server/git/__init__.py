"""Git, as the Hub uses it: objects read and written, smart HTTP, what a push must satisfy."""
