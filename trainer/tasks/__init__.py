"""What the loop can learn, one file each: towers from pairs of audio and text, a body from the classes of AudioSet."""
