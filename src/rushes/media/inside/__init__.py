"""What runs inside the sandbox and touches users' bytes.

Never imported by a worker: importing av or PIL there would put their parsers in it.
"""
