"""What the REST doors to customers have in common."""

from starlette.convertors import StringConvertor, register_url_convertor
from vapteke_shared.http import openapi


class _CustomerId(StringConvertor):
    """In a path, `{…:customer}` is anything but the lookup, which is no customer and has methods of its own."""

    regex = "(?!lookup/)[^/]+"


register_url_convertor("customer", _CustomerId())

PHONE_TAKEN = openapi.extended(
    openapi.problems(phone_taken=409),
    customer_id={"type": "integer", "description": "who has the phone", "examples": [14722]},
)
