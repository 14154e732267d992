"""What surrounds the work of a process: who writes, what it ran, how it ends."""
