"""The convertor of customer ids in paths, which importing this module registers. Write CUSTOMER_ID into the path."""

from starlette.convertors import StringConvertor, register_url_convertor

CUSTOMER_ID = "{customer_id:customer}"


class _CustomerId(StringConvertor):
    """Matches any path segment except `lookup`, which is the path of another endpoint.

    The segment stays a text. It need not be an id: the type of the endpoint's parameter must check that.
    """

    regex = "(?!lookup/)[^/]+"


register_url_convertor("customer", _CustomerId())
