"""Lists: query parameters, pages and cursors."""
