"""The verbs: one function, one transaction, one state move, one event. No storage call happens inside a transaction."""
