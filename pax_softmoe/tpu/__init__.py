"""TPU chips, slices and links, and what their compiler makes of a train step."""
