"""Large files by git-lfs: the batch API, signed addresses, uploads in parts."""
