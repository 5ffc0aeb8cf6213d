"""`local`: give a recorded message to the handlers in this process."""
