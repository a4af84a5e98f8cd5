"""Standard report formats, a module an RFC; they do not know each other.

Each offers ``read_x(mail) -> item | None``: the reader declines (None) where its format is not there.
"""
