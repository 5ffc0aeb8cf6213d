"""`doctor`: why nothing arrives. Each check is a small function that gives a finding; `command` lists them."""
