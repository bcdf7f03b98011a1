"""Questions and answers in the files of others: their harnesses and benchmarks, and back."""
