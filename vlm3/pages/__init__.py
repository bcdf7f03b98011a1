"""What readers look at and touch: figures, widgets, and recorded results."""
