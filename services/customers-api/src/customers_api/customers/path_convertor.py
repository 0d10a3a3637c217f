"""The convertor of `{customer_id:customer}` in paths: importing this module registers it."""

from starlette.convertors import StringConvertor, register_url_convertor

CUSTOMER_ID = "{customer_id:customer}"


class _CustomerId(StringConvertor):
    """Any segment except `lookup`, which has endpoints of its own."""

    regex = "(?!lookup/)[^/]+"


register_url_convertor("customer", _CustomerId())
