"""Media without Beam: fetch the bytes, tell what they are, cut the clip in a helper process, encode it."""
