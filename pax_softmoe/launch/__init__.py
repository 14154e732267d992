"""What it takes to run an experiment on Google Cloud: scripts and the source."""
