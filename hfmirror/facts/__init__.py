"""What the files of a folder tell about a release: read in bounds, never a tensor."""
