"""What the pages that people open have in common: who may speak to the server, its start and end, and its look."""
