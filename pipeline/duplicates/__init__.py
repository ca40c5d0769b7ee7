"""Near-duplicates: one recording under several ids, in other encodings or cut a little elsewhere."""
