"""`python -m vlm3` is the command `vlm3`, for launchers that start modules, such as torchrun."""

from vlm3.terminal.cli import main

main()
