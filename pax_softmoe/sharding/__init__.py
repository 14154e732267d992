"""Where arrays live: the table of letters and mesh axes, and what fits a mesh."""
