"""Lists of a REST service: query parameters, pages and cursors."""
