"""`mulan doctor`: what this machine and this installation can do, as text that may be shown to anybody."""
