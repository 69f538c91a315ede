"""Start of a command, which needs no torch: help pages, checks of flags; recipes, completion and env."""
