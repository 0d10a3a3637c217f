"""Who may do what in Kafka: the table of the documents is the code's, and the names in it are the services' own."""

from pathlib import Path

from vapteke_shared.contract import topics
from vapteke_shared.messaging import acls

ROOT = Path(__file__).parents[3]


def test_the_documented_table_is_the_codes() -> None:
    assert acls.table(topics.ALL) in (ROOT / "docs/kafka.md").read_text()


def test_only_its_producer_may_write_to_a_topic() -> None:
    written = {(acl.user, acl.name) for acl in acls.required(topics.ALL) if acl.operation == acls.Operation.WRITE}

    topics_written = {(user, name) for user, name in written if name.startswith("vapteke.")}
    assert topics_written == {(topic.producer, topic.name) for topic in topics.ALL}
