"""The limits of values. Events, request models, query parameters and the importer all use these constants.

Each line names the unit and the source. A number that only tunes how a component runs stays in that component.
"""

from datetime import date, timedelta
from typing import Final

INT32_MAX: Final = 2**31 - 1  # Postgres' integer
INT64_MAX: Final = 2**63 - 1  # Postgres' bigint, and SQL Server's
INT64_MIN: Final = -(2**63)  # Postgres' bigint, and SQL Server's

# customers
NAME_CHARACTERS: Final = 100  # of a first or last name once it is cleaned; our own rule
EMAIL_MIN_CHARACTERS: Final = 3  # of an e-mail address: a@b
EMAIL_CHARACTERS: Final = 254  # of an e-mail address once it is cleaned; RFC 5321: a path of 256 with its brackets
MARKS_PER_LETTER: Final = 8  # combining marks; no language needs more, and hundreds of them cover the text around them
PHONE_SPELLING_CHARACTERS: Final = 100  # of a phone as a caller spells it; our own rule
PHONE_MIN_DIGITS: Final = 11  # country calling code included; docs/contract.md, "Phones"
PHONE_MAX_DIGITS: Final = 15  # country calling code included; ITU-T E.164
FIRST_BIRTHDAY: Final = date(1900, 1, 1)  # earlier ones are mistakes; our own rule
CLOCK_TOLERANCE: Final = timedelta(minutes=5)  # how far a clock that writes `last_auth_at` may be ahead of ours

# imports
RANGES_PER_PLAN: Final = 100_000  # key ranges; a plan must fit into one record as well
ROWS_PER_TASK: Final = 100  # legacy ids in one task; SQL Server takes 2,100 parameters in a statement
ROWS_PER_IMPORT: Final = 10_000  # legacy ids that an import of kind `rows` may name; our own rule
ERROR_CHARACTERS: Final = 2000  # of an importer's error or warning in an event; our own rule
FINGERPRINT_CHARACTERS: Final = 60  # of a range: two whole numbers of up to 19 and 38 digits
BASIS_CHARACTERS: Final = 300  # of each part of the basis of fingerprints; our own rule
COLUMN_CHARACTERS: Final = 300  # of the name of a column (128 at most in SQL Server) and its type; our own rule
FIELD_NAME_CHARACTERS: Final = 60  # of the name of a field in an event; our own rule
REASON_CHARACTERS: Final = 60  # of the word that says why a value cannot be used; our own rule

# Kafka
RECORD_BYTES: Final = 1_000_000  # key, headers and value of a record together; below Kafka's default of 1,048,588
DEAD_LETTER_BYTES: Final = 64 * 1024  # of the value that a dead letter keeps; our own rule

# HTTP
BODY_BYTES: Final = 256 * 1024  # of a request's body; a thousand ids fit many times
SENT_BODY_BYTES: Final = 1024 * 1024  # of a request's body as it is sent, chunked encoding included; our own rule
PAGE_ITEMS: Final = 1000  # on one page of a list; our own rule
PAGE_ITEMS_DEFAULT: Final = 50  # on one page of a list when the caller gives no `limit`
IDS_PER_REQUEST: Final = 1000  # ids, phones or items that one request may name; our own rule
ITEMS_PER_CHECK: Final = 500  # items that one check of favorites may name; our own rule
QUERY_PARAMETERS: Final = 4000  # in one query: three lists of IDS_PER_REQUEST, and the rest
