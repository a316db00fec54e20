"""The subcommands of the `kernellab` command, one module each."""
