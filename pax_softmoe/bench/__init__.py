"""Measurements: speed of routers, and their comparison at equal steps."""
