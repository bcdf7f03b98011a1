"""The four tasks: each asks, parses and scores; their wording is data, in the .toml files beside this one."""
