"""The ways to media: local files, http(s), object stores, YouTube; with the cache and the lanes between."""
