"""The convertor of `{customer_id:customer}` in paths: importing this module registers it."""

from starlette.convertors import StringConvertor, register_url_convertor

CUSTOMER_ID = "{customer_id:customer}"


class _CustomerId(StringConvertor):
    """Matches any path segment except `lookup`, which is the path of another endpoint."""

    regex = "(?!lookup/)[^/]+"


register_url_convertor("customer", _CustomerId())
