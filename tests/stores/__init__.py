"""Other object stores, as whole servers of their own, for the conformance suite. None of them touches our lock."""
