"""The settings of favorites-api; the README's table says what each is for."""

from vapteke_shared.settings import AuthSettings, HttpSettings


class ServeSettings(HttpSettings, AuthSettings):
    """`favorites-api serve`."""
