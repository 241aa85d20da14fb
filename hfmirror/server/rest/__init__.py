"""The rest of the REST API, and the downloads: what a repository is and holds, as JSON and as bytes."""
