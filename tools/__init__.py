"""The `softmoe` command, one module for each of its subcommands."""
