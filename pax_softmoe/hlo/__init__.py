"""Compiled programs, read: their instructions, cost, and what they exchange."""
