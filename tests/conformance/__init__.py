"""Every store under one suite: the portable core that rushes relies on, and what each store has beyond it.

SeaweedFS always; `make conformance STORE=swift|ceph|all` runs the others too and writes docs/stores.md.
"""
