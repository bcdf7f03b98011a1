"""Fine-tuning: one loop, its settings, samples on their way, and what a run leaves on disk."""
