"""Where files lie: this machine, or an object store, behind one contract."""
