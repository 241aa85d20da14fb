"""A training folder becomes a proven release on the Hugging Face Hub or any git+LFS host."""

__version__ = '0.1.0.dev0'
