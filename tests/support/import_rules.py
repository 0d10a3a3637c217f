"""The rules of imports of all kinds, by name: each can be left out of `simulated_customers_api.py`.

One rule is not that of customers-api: instead of OUTDATED_ROWS_ARE_NOT_APPLIED, it leaves the rows that an import of
rows names meanwhile to the next import (`row_tables.NAMED_MEANWHILE`).
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Rule(Enum):
    # which reading of a row wins
    GREATER_NUMBER_WINS = "of two readings of a row, the one with the greater dispatch number wins"
    LATER_ATTEMPT_WINS = "of two attempts at a range, the one that began later wins, also where it changed nothing"
    ENDED_IMPORTS_ARE_IGNORED = "an event of an import that has ended changes nothing"
    ONE_IMPORT_AT_A_TIME = "imports of the kinds full, changes and compare exclude each other"
    ALL_EVENTS_ARE_APPLIED_FIRST = "an import completes when all that its ranges published has been applied"
    ONLY_THE_WINNER_COMPARES = "a comparison lists what the attempt that won has read, whatever others have read"
    # stored ranges
    SUMS_WHAT_WAS_READ = "the importer sums the rows that it read, and no others"
    ONLY_COMPLETED_IMPORTS_STORE = "a range is stored when its import completes"
    ONLY_FULL_AND_CHANGES_STORE = "an import of kind compare stores no ranges"
    PLAN_VOIDS = "a plan voids the stored ranges that its import is going to read"
    VOIDED_SINCE_IS_READ = "a range that was voided since the plan was requested is read"
    BASIS_IS_COMPARED = "stored ranges with another basis are not compared"
    BASIS_OF_A_RANGE_IS_COMPARED = "a range that was read with another basis than the plan's is void"
    OTHER_ATTEMPT_VOIDS = "a range that two attempts have read is void"
    REFUSED_ROW_VOIDS = "a range of which the database refused a row is void"
    FUTURE_ENDS_FINGERPRINT = "a value in the future ends the fingerprint of its range on that day"
    RESTORATION_VOIDS = "restoring a customer voids the range of its row"
    RESTORED_MEANWHILE_VOIDS = "a range with skipped rows is void if a customer of it was restored during the import"
    # gone rows
    ONLY_COMPLETED_IMPORTS_MARK = "an import that fails or is cancelled marks nothing"
    EMPTY_TABLE_MARKS_NOTHING = "an import that finds an empty table marks nothing"
    ROW_OF_ANY_ATTEMPT_IS_PRESENT = "a row that any attempt at its range has read is not gone"
    REJECTED_ROW_IS_PRESENT = "a row that was rejected is not gone"
    ABOVE_LAST_BOUND_IS_LOOKED_AT = "what lies above the last bound of the plan counts as looked at"
    AFTER_PLAN_IS_NOT_LOOKED_AT = "above the last bound, only what was read before the plan counts as looked at"
    FIRST_RANGE_IS_OPEN = "the first range has no lower bound"
    READING_CLEARS_MARK = "any reading of a marked row clears the mark, also an unchanged one"
    # the customers of gone rows
    ONCE_PER_ABSENCE = "a row that is marked is not marked again"
    JOINED_CUSTOMER_IS_LEFT = "a customer that the API created is left alone"
    ONLY_WHAT_IS_STILL_GONE = "a customer is deleted only while its row is still marked"
    ONLY_OWN_DELETIONS_END = "a row that returns restores only a customer whom a gone row has deleted"
    API_DELETION_TAKES_OVER = "a DELETE through the API takes over a deletion by an import"
    LIMIT_COUNTS_ALL_IMPORTS = "the limit of deletions counts those of all imports within 24 hours"
    LIMIT_COUNTS_APPROVED = "the limit of deletions counts those that are approved and not yet made"
    APPROVES_AT_MOST_THE_COUNT = "no more deletions are approved than the caller has counted"
    # imports of kind rows
    ROWS_VOID = "asking for rows voids the stored ranges that hold them"
    UNFINISHED_ROWS_VOID = "a range that holds a row of an unfinished import of rows is stored void"
    NEWER_READING_VOIDS = "a range of which a row has a greater dispatch number than the range is void"
    NEWER_READING_IS_NOT_GONE = "a row that was read with a greater dispatch number than its range's is not gone"
    ROWS_TAKE_NUMBER = "whatever an import of rows has read takes its number, also what is unchanged or skipped"
    AWAITED_ROWS_TAKE_NUMBER = "an unchanged row takes its number while an import of rows waits for it"
    OUTDATED_ROWS_ARE_NOT_APPLIED = "an import of rows applies nothing older than the plan of a completed import"


_ROWS = ("request_rows",)
_ATTEMPTS = ("begin_task", "kill")
_FAILURES = ("fail", "cancel", "kill")
_RESTORATIONS = ("api_delete", "api_restore")
_DELETIONS = ("remove", "find_approved", "delete_gone")
OFTEN: Final[Mapping[Rule, tuple[str, ...]]] = {
    Rule.GREATER_NUMBER_WINS: _ROWS,
    Rule.LATER_ATTEMPT_WINS: _ATTEMPTS,
    Rule.ENDED_IMPORTS_ARE_IGNORED: _FAILURES,
    Rule.ONE_IMPORT_AT_A_TIME: ("request", "remove"),
    Rule.ALL_EVENTS_ARE_APPLIED_FIRST: (),
    Rule.ONLY_THE_WINNER_COMPARES: _ATTEMPTS,
    Rule.SUMS_WHAT_WAS_READ: ("change",),
    Rule.ONLY_COMPLETED_IMPORTS_STORE: _FAILURES,
    Rule.ONLY_FULL_AND_CHANGES_STORE: (),
    Rule.PLAN_VOIDS: _FAILURES,
    Rule.VOIDED_SINCE_IS_READ: _RESTORATIONS,
    Rule.BASIS_IS_COMPARED: ("change_translation", "back_up", "restore_backup"),
    Rule.BASIS_OF_A_RANGE_IS_COMPARED: ("change_translation",),
    Rule.OTHER_ATTEMPT_VOIDS: _ATTEMPTS,
    Rule.REFUSED_ROW_VOIDS: ("refuse",),
    Rule.FUTURE_ENDS_FINGERPRINT: ("unusable", "next_day"),
    Rule.RESTORATION_VOIDS: _RESTORATIONS,
    Rule.RESTORED_MEANWHILE_VOIDS: _RESTORATIONS,
    Rule.ONLY_COMPLETED_IMPORTS_MARK: ("remove", *_FAILURES),
    Rule.EMPTY_TABLE_MARKS_NOTHING: ("remove_all", "remove"),
    Rule.ROW_OF_ANY_ATTEMPT_IS_PRESENT: ("remove", *_ATTEMPTS),
    Rule.REJECTED_ROW_IS_PRESENT: ("unusable",),
    Rule.ABOVE_LAST_BOUND_IS_LOOKED_AT: ("remove",),
    Rule.AFTER_PLAN_IS_NOT_LOOKED_AT: ("remove", *_ROWS),
    Rule.FIRST_RANGE_IS_OPEN: ("remove",),
    Rule.READING_CLEARS_MARK: ("remove",),
    Rule.ONCE_PER_ABSENCE: ("api_restore", *_DELETIONS),
    Rule.JOINED_CUSTOMER_IS_LEFT: _DELETIONS,
    Rule.ONLY_WHAT_IS_STILL_GONE: _DELETIONS,
    Rule.ONLY_OWN_DELETIONS_END: ("remove", "api_delete"),
    Rule.API_DELETION_TAKES_OVER: ("api_delete", *_DELETIONS),
    Rule.LIMIT_COUNTS_ALL_IMPORTS: _DELETIONS,
    Rule.LIMIT_COUNTS_APPROVED: ("remove", "delete_gone"),
    Rule.APPROVES_AT_MOST_THE_COUNT: ("remove", "approve"),
    Rule.ROWS_VOID: _ROWS,
    Rule.UNFINISHED_ROWS_VOID: _ROWS,
    Rule.NEWER_READING_VOIDS: _ROWS,
    Rule.NEWER_READING_IS_NOT_GONE: ("remove", *_ROWS),
    Rule.ROWS_TAKE_NUMBER: ("remove", *_ROWS),
    Rule.AWAITED_ROWS_TAKE_NUMBER: _ROWS,
    Rule.OUTDATED_ROWS_ARE_NOT_APPLIED: ("remove", *_ROWS),
}
"""What happens often in the histories in which the rule is missed, so that few of them are needed."""

EXAMPLES: Final[Mapping[Rule, int]] = {
    Rule.GREATER_NUMBER_WINS: 406,
    Rule.LATER_ATTEMPT_WINS: 380,
    Rule.ONE_IMPORT_AT_A_TIME: 3,
    Rule.ALL_EVENTS_ARE_APPLIED_FIRST: 5,
    Rule.ONLY_THE_WINNER_COMPARES: 24,
    Rule.SUMS_WHAT_WAS_READ: 19,
    Rule.ONLY_COMPLETED_IMPORTS_STORE: 72,
    Rule.ONLY_FULL_AND_CHANGES_STORE: 8,
    Rule.PLAN_VOIDS: 323,
    Rule.BASIS_IS_COMPARED: 11,
    Rule.BASIS_OF_A_RANGE_IS_COMPARED: 19,
    Rule.OTHER_ATTEMPT_VOIDS: 54,
    Rule.REFUSED_ROW_VOIDS: 7,
    Rule.FUTURE_ENDS_FINGERPRINT: 463,
    Rule.RESTORED_MEANWHILE_VOIDS: 284,
    Rule.ONLY_COMPLETED_IMPORTS_MARK: 4,
    Rule.EMPTY_TABLE_MARKS_NOTHING: 0,
    Rule.REJECTED_ROW_IS_PRESENT: 6,
    Rule.ABOVE_LAST_BOUND_IS_LOOKED_AT: 20,
    Rule.AFTER_PLAN_IS_NOT_LOOKED_AT: 11,
    Rule.FIRST_RANGE_IS_OPEN: 3,
    Rule.READING_CLEARS_MARK: 61,
    Rule.ONCE_PER_ABSENCE: 6,
    Rule.JOINED_CUSTOMER_IS_LEFT: 8,
    Rule.ONLY_OWN_DELETIONS_END: 3,
    Rule.API_DELETION_TAKES_OVER: 120,
    Rule.LIMIT_COUNTS_ALL_IMPORTS: 410,
    Rule.APPROVES_AT_MOST_THE_COUNT: 10,
    Rule.ROWS_VOID: 165,
    Rule.NEWER_READING_VOIDS: 73,
    Rule.NEWER_READING_IS_NOT_GONE: 11,
    Rule.ROWS_TAKE_NUMBER: 11,
    Rule.OUTDATED_ROWS_ARE_NOT_APPLIED: 117,
    Rule.ROW_OF_ANY_ATTEMPT_IS_PRESENT: 796,
    Rule.RESTORATION_VOIDS: 1576,
}
"""The seed of a history that breaks a promise only if the rule is missing; other histories have other seeds.

For the rules that are not here, no such history is known yet.
"""
