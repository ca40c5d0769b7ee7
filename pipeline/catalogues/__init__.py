"""What people have, turned into a catalogue."""
