"""What stands in a run folder: names, lock, generations, and what changes or checks it after the fact."""
