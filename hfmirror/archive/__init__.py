"""Releases in an archive: a bucket or a directory that needs no git, no LFS server and no program of ours to be read."""
