"""Support for the tests: fakes, drivers of what is under test, and recorded deployments."""
