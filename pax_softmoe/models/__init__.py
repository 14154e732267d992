"""Praxis models: losses and metrics around the layers."""
