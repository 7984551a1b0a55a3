"""Receptive fields: textbook, exact and effective, and the pixels that nobody reads."""

from convolens.analysis.field.effective import effective_field
from convolens.analysis.field.exact import Field, Fields, Unknown, fields_of
from convolens.analysis.field.textbook import Textbook, textbook_of
from convolens.analysis.field.unread import Unread, unread

__all__ = [
    "Field",
    "Fields",
    "Textbook",
    "Unknown",
    "Unread",
    "effective_field",
    "fields_of",
    "textbook_of",
    "unread",
]
