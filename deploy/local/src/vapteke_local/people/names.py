"""The names of made-up people: tables of 65,536 slots. For each person, a 16-bit draw picks a slot of each table.

The first LONG_NAMES slots of a table contain names that the services do not accept (over 100 characters). The other
slots contain names, empty or blank texts, or None, which are accepted. FIRST_NAMES and LAST_NAMES each have a table for
men and one for women.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, islice

from vapteke_local.people.random_draws import SLOTS, per_mille

LONG_NAMES = per_mille(1)
NAME_LENGTH = 100

MALE = """
Александр Сергей Дмитрий Андрей Алексей Максим Евгений Владимир Иван Михаил Николай Артём Роман Виктор Денис Павел
Игорь Антон Илья Олег Никита Константин Кирилл Юрий Егор Вадим Анатолий Виталий Валерий Вячеслав Руслан Станислав
Данил Василий Геннадий Григорий Борис Пётр Леонид Фёдор Степан Семён Матвей Тимофей Тимур Ярослав Даниил Глеб Эдуард
Марк Лев Артур Арсений Валентин Георгий Захар Богдан Марат Ринат Ильдар Рустам Альберт Давид Филипп Савелий Родион
Святослав Всеволод Вениамин Аркадий Герман Яков Прохор Лука Мирон Платон Демид Назар Макар Клим Елисей Тарас Остап
Эмиль Равиль Айрат Азат Динар Фарид Камиль Шамиль Магомед Ислам Умар Амир Арман Ашот Гагик Армен Тигран Карен Гарик
Зураб Вахтанг Отар Резо Нодар Бахтиёр Рахмон Фируз Далер Сухроб Жасур Улугбек Аскар Ерлан Нурлан Бауыржан Серик Санжар
Добрыня Ратмир Мстислав Ростислав Изяслав Казимир Влас Фрол Ермолай Еремей Игнат Кузьма Лавр Мартын Никифор Онуфрий
Панкрат Поликарп Прокофий Савва Силантий Спиридон Трофим Устин Харитон Эраст Юлиан Вилен Ким Мэлор Нестор Адам Эрик
Роберт Ян Саша Дима
"""
FEMALE = """
Елена Ольга Наталья Татьяна Анна Ирина Мария Екатерина Светлана Юлия Анастасия Марина Людмила Галина Дарья Надежда
Валентина Нина Виктория Оксана Любовь Вера Алёна Ксения Александра Евгения Алина Полина Кристина Лариса Тамара Яна
Елизавета Инна Вероника Диана Маргарита Жанна Антонина Раиса Лидия Алла Зинаида Олеся Лилия Софья София Варвара Ульяна
Карина Регина Эльвира Снежана Арина Милана Василиса Ева Злата Мирослава Есения Таисия Ангелина Кира Майя Зоя Клавдия
Роза Римма Эмма Альбина Венера Гульнара Гузель Айгуль Динара Лейсан Фарида Зульфия Резеда Алсу Асель Айжан Жанар
Мадина Заира Патимат Аминат Фатима Амина Сабина Самира Лейла Нино Тамрико Кетеван Ануш Гаянэ Асмик Рузанна Наринэ
Шушаник Гулчехра Зебо Нигора Мавлюда Рано Пелагея Аглая Агния Агафья Акулина Анфиса Дарина Домна Евдокия Евлампия
Ефросинья Иванна Капитолина Лукерья Марфа Матрёна Мелания Неонила Олимпиада Прасковья Серафима Степанида Устинья
Феврония Фёкла Юнона Аэлита Виолетта Изабелла Каролина Луиза Матильда Нонна Октябрина Нинель Сталина Стелла Эвелина
Элеонора Эсмеральда Юзефа Ядвига Ариадна Береника Влада Дана Илона Лада Лия Мила Рада Анна-Мария Мария-Луиза Катя Оля
Наташа Лена
"""
SURNAMES = """
Иванов Смирнов Кузнецов Попов Васильев Петров Соколов Михайлов Новиков Фёдоров Морозов Волков Алексеев Лебедев Семёнов
Егоров Павлов Козлов Степанов Николаев Орлов Андреев Макаров Никитин Захаров Зайцев Соловьёв Борисов Яковлев Григорьев
Романов Воробьёв Сергеев Кузьмин Фролов Александров Дмитриев Королёв Гусев Киселёв Ильин Максимов Поляков Сорокин
Виноградов Ковалёв Белов Медведев Антонов Тарасов Жуков Баранов Филиппов Комаров Давыдов Беляев Герасимов Богданов
Осипов Сидоров Матвеев Титов Марков Миронов Крылов Куликов Карпов Власов Мельников Денисов Гаврилов Тихонов Казаков
Афанасьев Данилов Савельев Тимофеев Фомин Чернов Абрамов Мартынов Ефимов Федотов Щербаков Назаров Калинин Исаев
Чернышёв Быков Маслов Родионов Коновалов Лазарев Воронин Климов Филатов Пономарёв Голубев Кудрявцев Прохоров Наумов
Потапов Журавлёв Овчинников Трофимов Леонов Соболев Ермаков Колесников Гончаров Емельянов Никифоров Грачёв Котов
Гришин Ефремов Архипов Громов Кириллов Малышев Панов Моисеев Румянцев Акимов Кондратьев Бирюков Горбунов Анисимов
Ерёмин Тихомиров Галкин Лукьянов Михеев Скворцов Юдин Белоусов Нестеров Симонов Прокофьев Харитонов Князев Цветков
Левин Митрофанов Воронов Аксёнов Софронов Мальцев Логинов Горшков Савин Краснов Майоров Демидов Елисеев Рыбаков
Сафонов Плотников Демин Хохлов Фадеев Молчанов Игнатов Литвинов Ершов Ушаков Дементьев Рябов Мухин Калашников Леонтьев
Лобанов Кузин Корнеев Евдокимов Бородин Платонов Некрасов Балашов Бобров Жданов Блинов Вересаев Римский Вяземский
Троицкий Покровский Белинский Толстой Черных Седых Долгих Бондаренко Шевченко Коваленко Ткаченко Кравченко Лысенко
Мельник Ткачук Гринберг Вайс Ким Пак Хан Гарсия Оганесян Саркисян Петросян Гогоберидзе Джапаридзе Ахметзянов Сафиуллин
Хайруллин Мамедов Алиев Гасанов Каримов Рахимов Юсупов Салаватов-Ямаев Соколов-Микитов Мамин-Сибиряк
Полуэктов-Заречный Дурново Живаго Хитрово
"""
# These letters are not in CP1251: such a name needs a column of national characters.
NATIONAL = (
    "Әбдірахман Құдайберген Нұрғали Өтепберген Müller Größe Nováková Łukaszewicz Şahin Özdemir Dvořák Åström Nguyễn"
)
MIDDLE = "Иванов Петров Сергеев Николаев Андреев Алексеев Олегов Павлов Юрьев Игорев Васильев Викторов Романов Борисов"

LATIN_LETTERS = "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh sch  y  e yu ya"
LATIN = {
    ord(letter): written
    for letter, written in zip("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", LATIN_LETTERS.split(" "), strict=True)
}


def latin(name: str) -> str:
    return name.lower().translate(LATIN)


def feminine(surname: str) -> str:
    if surname.endswith(("ов", "ев", "ёв", "ин")):
        return surname + "а"
    return surname[:-2] + "ая" if surname.endswith(("ий", "ой")) else surname


def by_popularity(names: Sequence[str], size: int) -> list[str]:
    """A list of `size` names from `names`, repeated and in the same order.

    The name at index k occurs about in proportion to 1 / (k + 3).
    """
    weights = [1_000_000 // (rank + 3) for rank in range(len(names))]
    repeated = [[name] * (size * weight // sum(weights) + 1) for name, weight in zip(names, weights, strict=True)]
    return list(islice(chain.from_iterable(repeated), size))


def odd_first_name(names: Sequence[str], middle: str, turn: int) -> str:
    name, other = names[turn % len(names)], names[turn * 7 % len(names) - 1]
    middle_names = MIDDLE.split()
    forms = (
        f"{name}-{other}",
        f"{name} {middle_names[turn % len(middle_names)]}{middle}",
        f"{name} {other[0]}.",
        f"{name}{name[-1]}",
        latin(name).title(),
        f"{name} {turn}",
        f"{name[0]}. {other[0]}.",
        f"{name}+{other}",
    )
    return forms[turn // len(names) % len(forms)]


def too_long(names: Sequence[str], turn: int) -> str:
    length = NAME_LENGTH + 1 + turn % 50
    return "-".join(names[turn : turn + 40])[:length]


def just_fits(names: Sequence[str]) -> str:
    return too_long(names, 0)[:NAME_LENGTH]


def table(names: Sequence[str], odd: Iterable[str]) -> list[str | None]:
    slots: list[str | None] = [too_long(names, turn) for turn in range(LONG_NAMES)]
    slots += [just_fits(names)] * 8 + [None] * per_mille(40) + [""] * per_mille(8) + ["  "] * per_mille(2)
    slots += odd
    slots += [name.lower() for name in by_popularity(names, per_mille(25))]
    slots += [name.upper() for name in by_popularity(names, per_mille(15))]
    return slots + by_popularity(names, SLOTS - len(slots))


def first_names(names: Sequence[str], middle: str) -> list[str | None]:
    return table(names, [odd_first_name(names, middle, turn) for turn in range(per_mille(15))])


def last_names(names: Sequence[str]) -> list[str | None]:
    return table(names, by_popularity(NATIONAL.split(), per_mille(10)))


# Indexed by sex, 0 for men and 1 for women, then by the draw.
FIRST_NAMES = (first_names(MALE.split(), "ич"), first_names(FEMALE.split(), "на"))
LAST_NAMES = (last_names(SURNAMES.split()), last_names([feminine(name) for name in SURNAMES.split()]))

LOGINS = [
    form
    for name, other in zip(MALE.split() + FEMALE.split(), SURNAMES.split(), strict=False)
    for form in (latin(name), f"{latin(name)}.{latin(other)}", f"{latin(other)}_{latin(name)[0]}", latin(other).title())
]
