"""Payload templates of Port's actions, for the fake Port and for the command line."""

from port_templates.templates import TemplateError, render, well_formed

__all__ = ["TemplateError", "render", "well_formed"]
