"""What Schemathesis cannot know from JSON Schema: how phones, addresses and dates look that the service accepts."""

from datetime import UTC, date, datetime

import schemathesis
from hypothesis import strategies as st
from schemathesis.core import NOT_SET

phones = st.from_regex(r"\+?7 ?\(?9[0-9]{2}\)? ?[0-9]{3}-?[0-9]{4}|5011[0-9]{7}|9[0-9]{9}", fullmatch=True)
emails = st.from_regex(r"[a-z][a-z0-9_]{0,20}(\.[a-z]{1,5})?@[a-z]{1,20}\.(ru|com|example\.org)", fullmatch=True)
days = st.dates(date(1900, 1, 1), date(2026, 1, 1)).map(str)
instants = st.datetimes(datetime(2, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat)

for name, strategy in {"phone": phones, "email": emails, "date": days, "date-time": instants}.items():
    schemathesis.openapi.format(name, strategy)

DELETE_FAVORITES = "DELETE /rest/v1/favorites/"


@schemathesis.hook
def filter_case(context: object, case: schemathesis.Case) -> bool:
    query = case.query or {}
    # A cursor comes from an answer: one that is made up is refused.
    if "cursor" in query:
        return False
    # Either the body or the query names what to delete: no OpenAPI says that of the two.
    if case.operation.label == DELETE_FAVORITES:
        in_body, in_query = case.body not in (NOT_SET, None), query.get("id", []) != []
        return in_body != in_query
    return True


@schemathesis.hook
def map_query(context: object, query: dict[str, object] | None) -> dict[str, object] | None:
    """To JSON, 5.0 is the integer 5; a query holds digits."""
    return query and {name: as_digits(value) for name, value in query.items()}


def as_digits(value: object) -> object:
    if isinstance(value, list):
        return [as_digits(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_add_examples(context: object, examples: list[schemathesis.Case]) -> None:
    for example in examples:
        (example.query or {}).pop("cursor", None)
        if example.operation.label == DELETE_FAVORITES:
            example.query.pop("id", None)
