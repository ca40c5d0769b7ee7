"""`mulan demo`: a small corpus that the project makes itself, and the whole way over it."""
