"""How a shard lies on disk: a file for each format with its reader and writer. `schemas/shard_format.py` lists them."""
