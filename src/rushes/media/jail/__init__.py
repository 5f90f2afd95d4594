"""The child's half of the sandbox. Runs before anything untrusted does, with the standard library only."""
