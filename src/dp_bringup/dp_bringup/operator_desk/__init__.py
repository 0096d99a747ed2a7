"""The operator's desk: what a person sees and presses in the terminal while recording."""
