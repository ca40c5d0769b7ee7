"""Music found by words: an index of a collection's vectors and names, and what is asked of it; docs/search.md."""
