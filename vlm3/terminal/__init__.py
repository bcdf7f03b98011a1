"""The command `vlm3`, and questions about photos of your own."""
