"""What Schemathesis cannot know from JSON Schema: how phones, addresses and dates look that the service accepts."""

from datetime import UTC, date, datetime

import schemathesis
from hypothesis import strategies as st

phones = st.from_regex(r"\+?7 ?\(?9[0-9]{2}\)? ?[0-9]{3}-?[0-9]{4}|5011[0-9]{7}|9[0-9]{9}", fullmatch=True)
emails = st.from_regex(r"[a-z][a-z0-9_]{0,20}(\.[a-z]{1,5})?@[a-z]{1,20}\.(ru|com|example\.org)", fullmatch=True)
days = st.dates(date(1900, 1, 1), date(2026, 1, 1)).map(str)
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)).map(datetime.isoformat)

for name, strategy in {"phone": phones, "email": emails, "date": days, "date-time": instants}.items():
    schemathesis.openapi.format(name, strategy)


# A cursor comes from an answer: one that is made up is refused.
@schemathesis.hook
def filter_case(context: object, case: schemathesis.Case) -> bool:
    return "cursor" not in (case.query or {})


@schemathesis.hook
def before_add_examples(context: object, examples: list[schemathesis.Case]) -> None:
    for example in examples:
        (example.query or {}).pop("cursor", None)
