"""The dp command line, the node graph, launch and reports."""
