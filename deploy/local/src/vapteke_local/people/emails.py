"""The e-mail addresses of made-up people: 1 % are broken, 40 % are None, empty or blank, the rest are valid."""

from vapteke_local.people.names import LOGINS
from vapteke_local.people.random_draws import UNUSABLE, Draws, per_mille

NO_EMAIL = UNUSABLE["email"] + per_mille(400)
HOSTS = [
    "mail.example",
    "pochta.example.com",
    "box.example.net",
    "yashchik.example.org",
    "inbox.example.com",
    "post.example.net",
    "MAIL.EXAMPLE.COM",
    "pisma.example",
    "list-ru.example.com",
    "bk.example",
    "gm.example.com",
    "apteka.example",
    "rambl.example.org",
    "out-look.example.com",
    "home.example.net",
    "1.mail.example",
]
LONGEST_EMAIL = f"{'dlinnoe' * 9}1@{'yashchik' * 7}.{'pochta' * 10}.{'na' * 29}n.example.com"
BROKEN_EMAILS = [
    "{login}.{host}",
    "{login}@@{host}",
    "{login}@{host}@{host}",
    "{login} {turn}@{host}",
    "{login}@ {host}",
    "{login}@mail",
    "{login}..{turn}@{host}",
    "{login}@mail..{host}",
    "@{host}",
    "{login}@",
    "нет",
    "{login}@" + "pochta." * 40 + "{host}",
]


def email(row: int, draws: Draws) -> str | None:
    login, host = LOGINS[draws.mailbox % len(LOGINS)], HOSTS[draws.mailbox >> 12]
    turn = row * 7919 % 10_007
    if draws.email < UNUSABLE["email"]:
        return BROKEN_EMAILS[draws.email % len(BROKEN_EMAILS)].format(login=login, host=host, turn=turn)
    if draws.email < NO_EMAIL:
        return (None, None, None, None, None, None, "", " ")[draws.email & 7]
    return f"{login}{turn}@{host}" if draws.mailbox >= 16 else LONGEST_EMAIL
