"""Is Kafka there, and are its topics as they are declared?"""

from aiokafka.errors import KafkaError
from vapteke_shared.contract import topics as declared
from vapteke_shared.messaging import topic_differences
from vapteke_shared.process import connection_errors

from legacy_importer.doctor.findings import Verdict, failure, ok, unknown, warning
from legacy_importer.doctor.subject import Subject

_OURS = {topic.name for topic in declared.ALL if declared.IMPORTER in (topic.producer, *topic.consumers)}


async def kafka(subject: Subject) -> Verdict:
    try:
        subject.topics = await topic_differences.find(subject.settings, declared.ALL)
    except (KafkaError, OSError) as error:
        return failure(connection_errors.describe(error))
    return ok(f"Kafka at {', '.join(subject.settings.kafka_bootstrap_servers)} answers")


async def topics(subject: Subject) -> Verdict:
    """The user must be allowed to see the importer's own topics. Others that it may not see are unknown."""
    missing, unseen, found = subject.topics
    harmful = [difference.text for difference in found if difference.is_harmful]
    if ours := sorted(_OURS & {*missing}):
        harmful.insert(
            0,
            f"topics are missing, or this user may not see them: {', '.join(ours)}; run `vapteke-topics`, "
            "with `--acls` if this Kafka has ACLs",
        )
    if harmful:
        return failure(". ".join(harmful))
    if found:
        return warning(". ".join(difference.text for difference in found))
    if missing or unseen:
        return unknown(
            f"this user may not see {', '.join(sorted({*missing, *unseen}))} or their configuration: run `doctor` as "
            "the user `operator` (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD)"
        )
    return ok(f"{len(declared.ALL)} topics are as they are declared")
