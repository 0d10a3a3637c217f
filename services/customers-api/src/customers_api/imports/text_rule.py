"""How this release writes names and e-mail addresses, and how it rewrites those that an earlier release stored."""

from collections.abc import Callable, Mapping
from typing import Final

from vapteke_shared.contract import limits, texts
from vapteke_shared.contract.texts import EmailInvalid


def normalised(field: str, text: str | None) -> str | None:
    """The text in the form in which this release compares texts. None if nothing is left of it.

    The result may still be invalid: too long, or not an e-mail address.
    """
    return None if text is None else FIELDS[field](text)


def rewritten(field: str, text: str | None) -> str | None:
    """The text as this release would store it: None if nothing is left. A text that it would reject stays as it is."""
    new = normalised(field, text)
    return text if new and _is_invalid(field, new) else new


def is_kept(field: str, theirs: str | None, mirrored: str | None, ours: str | None) -> bool:
    """Whether the customer keeps `ours`, because vAptekeSync has not changed the text.

    That is so if `theirs` and `mirrored` are two forms of one text, and `ours`, which the API wrote, is another text.
    Either form may be the older one: importers of two releases run side by side during an upgrade.
    """
    known = normalised(field, mirrored)
    return theirs != mirrored and normalised(field, theirs) == known and normalised(field, ours) != known


def _is_invalid(field: str, text: str) -> bool:
    if field != "email":
        return len(text) > limits.NAME_CHARACTERS
    try:
        texts.email(text)
    except EmailInvalid:
        return True
    return len(text) > limits.EMAIL_CHARACTERS


def _name(text: str) -> str | None:
    return texts.cleaned(text) or None


def _email(text: str) -> str | None:
    cleaned = texts.cleaned(text)
    try:
        return texts.email(cleaned)
    except EmailInvalid:
        return cleaned or None


FIELDS: Final[Mapping[str, Callable[[str], str | None]]] = {"firstname": _name, "lastname": _name, "email": _email}
"""How each text field is normalised."""
