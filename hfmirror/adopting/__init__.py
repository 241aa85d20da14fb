"""A repository that others have pushed to is put under versions."""
