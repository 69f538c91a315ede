"""What needs no torch: help of the training commands, checks of their flags, recipes, completion, and set-up."""
