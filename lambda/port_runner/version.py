"""The version of this library and of the module that deploys it."""

VERSION = "0.1.0"
