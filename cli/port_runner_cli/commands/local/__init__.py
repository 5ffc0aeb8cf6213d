"""`local`: a recorded message given to the handlers in this process."""
