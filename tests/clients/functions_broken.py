"""A Lambda function that cannot be loaded."""

raise RuntimeError("no database here")
