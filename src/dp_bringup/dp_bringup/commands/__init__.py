"""The subcommands of `dp`, one module each, imported only when called."""
