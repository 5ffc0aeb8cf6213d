"""Payload templates of Port's actions, for the fake Port and for the command line."""

from port_templates.templates import TemplateError, render

__all__ = ["TemplateError", "render"]
