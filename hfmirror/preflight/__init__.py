"""Can what a job will make arrive? Asked before the job begins; see ``preflight``."""
