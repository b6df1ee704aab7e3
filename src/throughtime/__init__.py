"""Recurrent networks that train."""
