"""The processes of a job on one machine: how they are watched, give signs of life, fail and end."""
