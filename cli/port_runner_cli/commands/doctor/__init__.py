"""`doctor`: find out why nothing arrives. Each check is a small function that returns a finding."""
