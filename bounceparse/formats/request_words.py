"""The words by which people ask to be taken off a list, and how they are compared.

Compared are whole phrases, never parts of a sentence: without case, diacritics, punctuation, politeness and the list's own
name. A typo is forgiven in words of eight letters or more, and only behind the third letter: prefixes carry the meaning
(German abmelden and anmelden, Ukrainian ``відписка`` and ``підписка``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache

from bounceparse.decoding import collapse

# A line a language.
_PHRASES = """
unsubscribe|unsubscribe me|unsubscribe request|unsub|unsubscribe all|list-unsubscribe|unsubscribe my address|unsubscribe my email|optout|opt out|opt me out|remove|remove me|take me off|signoff|sign off|stop|stop all|cancel subscription|cancel my subscription|cancel newsletter|end my subscription|no more emails|no more mail|no more newsletters|stop sending me emails|stop emailing me|stop mailing me|do not email me|don't email me|do not send me emails|don't send me any more emails|delete my address|delete my email|delete my email address|remove my address|remove my email|remove my email address|leave|i want to unsubscribe|i would like to unsubscribe|i wish to unsubscribe
wypisz|wypisz mnie|wypisuje sie|chce sie wypisac|wypisanie|wypisanie z listy|o wypisanie|o wypisanie mnie|mnie wypisac|wypisac|wypisac mnie|wypis|rezygnuje|rezygnacja|rezygnuje z subskrypcji|rezygnacja z subskrypcji|usun|usun mnie|usun moj adres|usuniecie|o usuniecie|o usuniecie mnie|o usuniecie mojego adresu|o usuniecie adresu|usunac|mnie usunac|usunac mnie|usunac moj adres|nie chce otrzymywac|nie chce juz otrzymywac|nie chce wiecej maili|nie chce otrzymywac wiadomosci|nie chce otrzymywac maili|nie zycze sobie|anuluj subskrypcje|anulowanie subskrypcji|odsubskrybuj|nie wysylajcie mi wiecej|zakoncz subskrypcje
abmelden|abmeldung|newsletter abmelden|newsletter abbestellen|newsletter kundigen|newsletter abmeldung|mich abmelden|austragen|mich austragen|austragung|abbestellen|abbestellung|kundigen|kuendigen|kundigung|loschen|loeschen|meine adresse loschen|meine adresse loeschen|mich loschen|keine weiteren e-mails|keine weiteren mails|keine e-mails mehr|keine mails mehr|keine newsletter mehr|aus dem verteiler nehmen|nehmen sie mich aus dem verteiler|mich aus dem verteiler nehmen|stopp|ich mochte mich abmelden|hiermit melde ich mich ab|ich mochte keine e-mails mehr|ich mochte keinen newsletter mehr
desabonner|desabonnement|se desabonner|me desabonner|desabonnez-moi|desinscription|desinscrire|se desinscrire|me desinscrire|desinscrivez-moi|resilier|resiliation|me retirer|retirez-moi|retirez moi|supprimez-moi|ne plus recevoir|je ne veux plus recevoir|je ne souhaite plus recevoir|je souhaite me desabonner|je veux me desabonner|je souhaite me desinscrire
baja|dar de baja|darme de baja|darse de baja|deme de baja|denme de baja|solicito la baja|solicito darme de baja|quiero darme de baja|deseo darme de baja|cancelar suscripcion|cancelar la suscripcion|cancelar mi suscripcion|desuscribir|desuscribirme|desuscribirse|anular suscripcion|no deseo recibir|no quiero recibir|no deseo recibir mas correos|no quiero recibir mas correos|eliminar|eliminarme|borrarme
baixa|donar-me de baixa|donar de baixa|doneu-me de baixa|vull donar-me de baixa|cancel-lar subscripcio|cancellar subscripcio
cancelar inscricao|cancelar a inscricao|cancelar assinatura|cancelar minha assinatura|descadastrar|descadastre-me|descadastro|remover|remova-me|remover-me|remover meu e-mail|sair da lista|nao quero receber|nao quero mais receber|nao desejo receber|anular subscricao|cancelar subscricao|remover da lista
cancellami|cancellatemi|cancellazione|cancellarmi|cancella iscrizione|disiscrivere|disiscrivimi|disiscrivetemi|disiscrizione|annulla iscrizione|annullare iscrizione|rimuovi|rimuovimi|rimuovetemi|non desidero ricevere|non desidero piu ricevere|non voglio piu ricevere|disdetta|voglio disiscrivermi|vorrei disiscrivermi
afmelden|afmelding|nieuwsbrief afmelden|nieuwsbrief opzeggen|nieuwsbrief uitschrijven|mij afmelden|uitschrijven|uitschrijving|mij uitschrijven|schrijf mij uit|opzeggen|opzegging|verwijder mij|verwijder mijn adres|geen e-mails meer|geen mail meer|geen mails meer|ik wil me afmelden|ik wil mij uitschrijven
avregistrera|avregistrera mig|avregistrering|avsluta prenumeration|avsluta prenumerationen|avanmal|avanmal mig|avanmalan|avprenumerera|ta bort mig|ta bort min adress|inga fler mejl|jag vill avregistrera mig
afmeld|afmeld mig|afmelding|frameld|frameld mig|framelding|afmeld nyhedsbrev|slet mig|fjern mig|ingen flere mails|jeg onsker at afmelde mig
avmeld|avmeld meg|avmelding|meld meg av|avslutt abonnement|avslutt abonnementet|fjern meg|stopp abonnement|jeg onsker a melde meg av
peruuta tilaus|peruuta|peruutus|poista|poista minut|poistakaa minut|poista osoitteeni|lopeta|lopeta tilaus|haluan peruuttaa tilauksen
odhlasit|odhlasit se|odhlasit odber|odhlaste me|odhlasit z odberu|odhlaseni|odhlaseni z odberu|zrusit odber|zruste odber|zruseni odberu|vyradit|vyradte me|nechci dostavat|uz nechci dostavat
odhlasit ma|odhlaste ma|odhlasenie|odhlasenie z odberu|zrusenie odberu|vyradte ma|nechcem dostavat|uz nechcem dostavat
leiratkozas|leiratkozom|leiratkozni|le szeretnek iratkozni|szeretnek leiratkozni|kerem toroljenek|toroljenek|torles|nem kerek tobb levelet|kerem a torlesem
dezabonare|dezabonati-ma|dezaboneaza-ma|ma dezabonez|doresc dezabonarea|vreau sa ma dezabonez|doresc sa ma dezabonez|stergeti-ma|nu mai doresc sa primesc
отписаться|отписаться от рассылки|отписка|отписка от рассылки|отпишите|отпишите меня|отпишите меня от рассылки|отказ от рассылки|отказ от подписки|отказаться от рассылки|удалить|удалите меня|удалите мой адрес|больше не пишите|не присылайте больше|хочу отписаться|отменить подписку
відписатися|відписатися від розсилки|відписка|відпишіть|відпишіть мене|відпишіть мене від розсилки|відмова від розсилки|видалити|видаліть мене|хочу відписатися|скасувати підписку
abonelikten cik|abonelikten cikmak istiyorum|uyelikten cik|uyelikten cikmak istiyorum|uyelik iptali|abonelik iptali|aboneligi iptal et|iptal|listeden cikar|listeden cik|beni listeden cikarin|abonelikten cikar|beni cikarin
διαγραφη|διαγραφη απο τη λιστα|καταργηση εγγραφης|απεγγραφη|θελω να διαγραφω|επιθυμω διαγραφη|διαγραψτε με
отписване|отпишете ме|отпиши ме|откажи абонамент|отказ от абонамент|искам да се отпиша|прекратете абонамента
配信停止|配信停止希望|配信停止をお願いします|配信停止してください|配信を停止してください|配信解除|登録解除|登録解除希望|購読解除|購読停止|退会|退会希望|解除|停止|メルマガ解除|メルマガ停止
退订|退訂|取消订阅|取消訂閱|取消訂閲|取消訂阅|请退订|我要退订|請取消訂閱|请取消订阅|不要再发|不要再發
수신거부|수신 거부|구독취소|구독 취소|구독해지|구독 해지|해지|수신거부 요청|수신거부합니다|구독취소 부탁드립니다
الغاء الاشتراك|إلغاء الاشتراك|اريد الغاء الاشتراك|ازالة
הסרה|הסר|הסר אותי|הסירו אותי|בקשת הסרה|להסיר|הסר מרשימת התפוצה
"""
# What may stand before or behind a phrase without changing it. Folded.
_POLITE = """
please|pls|plz|kindly|thanks|thank you|thx|many thanks|prosze|bardzo prosze|dziekuje|dzieki|bitte|danke|vielen dank|s'il vous plait|svp|merci|por favor|gracias|si us plau|gracies|obrigado|obrigada|per favore|per cortesia|grazie|cortesemente|alstublieft|aub|alsjeblieft|graag|bedankt|tack|var god|snalla|venligst|tak|vennligst|takk|kiitos|prosim|dekuji|dakujem|kerem|koszonom|va rog|multumesc|пожалуйста|прошу|спасибо|будь ласка|дякую|lutfen|tesekkurler|παρακαλω|ευχαριστω|моля|благодаря|よろしくお願いします|お願いします|谢谢|谢谢!|감사합니다|부탁드립니다|من فضلك|בבקשה|תודה
"""
# Which list: dropped behind a phrase.
_OBJECTS = """
from (?:your|this|the|all|any) (?:mailing |e-?mail |email |distribution |newsletter |mail )*(?:lists?|newsletters?|mailings?|e-?mails?|mails?|database)|from (?:mailing )?list|from newsletter|off (?:your|this|the) (?:mailing |e-?mail |email )*list|immediately|now|asap|today
z (?:tej |waszej |panstwa |waszego |tego |listy )*(?:listy(?: mailingowej| wysylkowej| subskrybentow| adresowej)?|newslettera|subskrypcji|bazy(?: danych)?|mailingu)|newslettera|waszych (?:maili|wiadomosci)|od was
(?:vom|von|aus|von dem|von ihrem|aus ihrem|aus dem|ihres|den|ihren|des) ?(?:ihrem )?(?:newsletters?|verteiler|mailverteiler|mailing|liste)|newsletter
(?:de|du|a) (?:la |votre |cette |vos |ce |le )?(?:liste(?: de diffusion)?|newsletters?|lettre d'information|emails?|mails?|e-mails?)|vos (?:e?-?mails|messages|newsletters?)
(?:de|del) (?:la |su |esta |el |este )?(?:lista(?: de correo)?|newsletter|boletin)|(?:mas )?(?:correos|mensajes)|del butlleti
(?:da|desta|de|do) ?(?:sua |sua )?(?:lista(?: de e-?mails)?|newsletter)|(?:mais )?(?:e-?mails|mensagens)
(?:dalla|dalle|dal|alla) (?:vostra |vostre |tua |mailing )*(?:lista|newsletter|list)|(?:le vostre )?(?:e?-?mail|newsletter)
(?:van|voor|uit) (?:de |deze |uw |jullie )?(?:nieuwsbrief|mailinglijst|lijst|mailing)|nieuwsbrief
(?:fran|fra|af) (?:nyhetsbrevet|nyhedsbrevet|listan|listen|listen din|jeres liste|utskick)|nyhetsbrev(?:et)?|nyhedsbrev(?:et)?
(?:z|ze|zo) (?:vaseho |vasho |tohoto )?(?:newsletteru?|newslettera|seznamu|zoznamu|odberu|databaze)(?: newsletteru?)?|newsletteru|hirlevelrol|a hirlevelrol|a listarol|de la newsletter|din lista
от (?:вашей )?(?:рассылки|подписки)|из (?:вашей )?(?:базы|рассылки)|від (?:вашої )?розсилки|от списъка|от бюлетина
"""
_FALSE_FRIENDS = frozenset(["unsubscribed"])  # what a list manager reports when it is done
_EDGES = " .,!?;:'\"()[]{}<>*_~-–—。、！？…«»„”“\t"
_INVISIBLE = str.maketrans("", "", "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad")
_SINGLE = str.maketrans(
    {"ł": "l", "ı": "i", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "’": "'", "‘": "'", "`": "'", "‑": "-"}
)
_LONG = 8
_PREFIX = 3
_ANY_TYPO = "unsubscribe"  # common enough to be known with a typo in its prefix too
_MOST_WORDS = 12


def fold(text: str) -> str:
    """``text`` without case, compatibility forms, diacritics, invisible characters and outer punctuation."""
    text = text.translate(_INVISIBLE).casefold()
    if text.isascii():
        return collapse(text).strip(_EDGES)
    text = unicodedata.normalize("NFKD", text.translate(_SINGLE))
    text = "".join([char for char in text if not unicodedata.combining(char)])
    return collapse(unicodedata.normalize("NFC", text)).strip(_EDGES)


def is_request(text: str) -> bool:
    """Whether ``text``, a subject or a sentence, is a request to be taken off a list and says nothing else."""
    return bool(text) and len(text) <= 160 and _is_request(text)


@lru_cache(maxsize=256)  # bounces have few subjects
def _is_request(text: str) -> bool:
    folded = fold(text).replace("-", " ")
    phrases = _phrases()
    if folded in phrases:
        return True
    if not _holds_words_of_a_phrase(folded):
        return False
    bare = _bare(folded)
    return bare in phrases or _without_typo(bare)


@cache
def _phrases() -> frozenset[str]:
    folded = {fold(phrase) for line in _PHRASES.strip().split("\n") for phrase in line.split("|")}
    return frozenset(phrase.replace("-", " ") for phrase in folded)


@cache
def _frame() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What may stand before a phrase, and behind it."""
    polite = "|".join(
        sorted((re.escape(fold(word).replace("-", " ")) for word in _POLITE.strip().split("|")), key=len, reverse=True)
    )
    objects = "|".join(_OBJECTS.strip().split("\n")).replace("e-?mail", "e ?mail").replace("e?-?mail", "e? ?mail")
    return (
        re.compile(rf"(?:{polite})(?:[\s,.!:]+|$)"),
        re.compile(rf"(?:^|[\s,.!]+)(?:{polite}|{objects})[\s,.!]*$"),
    )


_APART = str.maketrans(dict.fromkeys(_EDGES + ":", " "))


@cache
def _telling_words() -> frozenset[str]:
    """Of each phrase its longest word."""
    return frozenset(max(phrase.translate(_APART).split(), key=len) for phrase in _phrases())


def _holds_words_of_a_phrase(folded: str) -> bool:
    """Whether ``folded`` may hold a phrase, misspelt perhaps: a cheap test that ends nearly all other mail."""
    words = folded.translate(_APART).split()
    if "scribe" in folded or not _telling_words().isdisjoint(words):
        return True
    long_words = _long_words()
    return any(len(word) >= _LONG - 1 and word[:_PREFIX] in long_words for word in words)


def _bare(folded: str) -> str:
    """``folded`` without politeness and without the name of the list."""
    before, behind = _frame()
    for _ in range(3):
        if found := before.match(folded):
            folded = folded[found.end() :]
    for _ in range(3):
        found = behind.search(folded)
        if found is None or found.start() == 0:
            break
        folded = folded[: found.start()].rstrip(_EDGES)
    return folded.strip(_EDGES)


def _without_typo(folded: str) -> bool:
    """Whether ``folded`` is a phrase once its long words are spelled right."""
    words = folded.split()
    if not 0 < len(words) <= _MOST_WORDS or folded in _FALSE_FRIENDS or max(map(len, words)) < _LONG - 1:
        return False
    mended = " ".join(_nearest(word) for word in words)
    return mended != folded and (mended in _phrases())


@cache
def _long_words() -> Mapping[str, tuple[str, ...]]:
    """The long words of all phrases by their first three letters."""
    words: dict[str, set[str]] = {}
    for phrase in _phrases():
        for word in phrase.split():
            if len(word) >= _LONG:
                words.setdefault(word[:_PREFIX], set()).add(word)
    return {prefix: tuple(sorted(some)) for prefix, some in words.items()}


def _nearest(word: str) -> str:
    """The long word of a phrase that ``word`` is one edit away from; ``word`` where there is none."""
    if not _LONG - 1 <= len(word) <= 24:
        return word
    known = _long_words().get(word[:_PREFIX], ())
    if word in known:
        return word
    close = (other for other in (*known, _ANY_TYPO) if abs(len(other) - len(word)) < 2 and _is_one_edit(word, other))
    return next(close, word)


def _is_one_edit(word: str, known: str) -> bool:
    """Whether one letter added, dropped, changed, or swapped with its neighbour, behind the third, makes one the other."""
    start = 0
    shorter = min(len(word), len(known))
    while start < shorter and word[start] == known[start]:
        start += 1
    if len(word) == len(known):
        return word[start + 1 :] == known[start + 1 :] or (
            word[start + 2 :] == known[start + 2 :] and word[start : start + 2] == known[start : start + 2][::-1]
        )
    longer, other = (word, known) if len(word) > len(known) else (known, word)
    return longer[start + 1 :] == other[start:]


# Words that tell that somebody speaks about unsubscribing; compared with folded text.
@cache
def _talk_pattern() -> re.Pattern[str]:
    return re.compile(
        r"unsubscri|unsuscri|\bopt(?:ing)?[ -]?out\b|(?:take|remove|get|delete)(?: \w+){0,2} (?:off|from)\b.{0,30}\blists?\b|remove me\b|\bcancel (?:my|the|this) (?:subscription|newsletter)"
        r"|(?:stop|quit) (?:sending|mailing|e-?mailing|spamming)|wypis|rezygnuj|rezygnacj\w+ z|odsubskryb|anulu\w+ subskrypcj|usun\w*(?: \w+){0,3} (?:adres|listy|bazy|maila|mail)|nie (?:chce|zycze)(?: \w+){0,2} (?:otrzymywac|maili|newsletter)"
        r"|\babmeld|\babbestell|\baustrag|aus (?:dem|ihrem) verteiler|newsletter kundigen|melde\w* (?:ich )?mich ab|desabonn|desinscri|ne (?:plus|souhaite plus|veux plus) recevoir|retire[rz][- ]moi"
        r"|(?:dar|darme|darse|deme|denme|de) de baja|cancelar (?:la |mi |a |minha )?(?:suscripcion|subscricao|inscricao|assinatura)|desuscri|no (?:quiero|deseo) recibir|donar-me de baixa"
        r"|descadastr|nao (?:quero|desejo)(?: mais)? receber|disiscri|cancella(?:mi|temi|rmi)|rimuov(?:imi|etemi)|non (?:desidero|voglio)(?: piu)? ricevere|\bafmeld|uitschrij|schrijf (?:mij|me) uit|opzeg"
        r"|avregistrer|avprenumer|avanmal|avsluta prenum|\bframeld|\bavmeld|meld(?:e)? meg av|avslutt abon|peruut\w* tilau|poista\w* (?:minut|osoite)|odhlas|(?:zrus|ukonc)\w+ odber|leiratkoz|iratkozni|dezabon"
        r"|отпи(?:с|ш)|от(?:каз\w*|мен\w*) (?:от )?(?:рассылк|подписк)|відпи(?:с|ш)|скасувати підписк|откажи абон|abonelikten|aboneligi|uyelikten|listeden c|διαγρα|απεγγραφ"
        r"|配信(?:を)?(?:停止|解除)|登録解除|購読(?:解除|停止)|退会|退订|退訂|取消(?:订阅|訂閱)|수신 ?거부|구독 ?(?:취소|해지)|الغاء الاشتراك|הסר|להסיר"
    )


@cache
def _negated_pattern() -> re.Pattern[str]:
    return re.compile(
        r"\b(?:do not|don't|dont|never|not to|didn't|did not|wasn't|haven't|won't|not|without) (?:\w+ ){0,3}(?:unsubscri|remove|opt|cancel|stop|take)|\bnie (?:\w+ ){0,2}(?:wypis|rezygn|usuw|usun|anulu)"
        r"|\bnicht (?:\w+ ){0,2}(?:ab|aus|kund|losch)|(?:abmeld|abbestell|austrag)\w* (?:\w+ ){0,2}nicht|\bne (?:me |vous |nous )?(?:\w+ )?(?:desabonn|desinscri|retir|supprim)|\bpas (?:me |nous |se )?(?:desabonn|desinscri)"
        r"|\bno (?:me |quiero |deseo )*(?:dar|baja|cancel|elimin)|\bnao (?:me |quero )*(?:descadastr|cancel|remov)|\bnon (?:\w+ ){0,2}(?:cancell|disiscri|rimuov)|\bniet (?:\w+ ){0,2}(?:afmeld|uitschrij|verwijder)"
        r"|\binte (?:\w+ ){0,2}av|\bikke (?:\w+ ){0,2}(?:af|av|fra|meld|slet|fjern)|\bala (?:peruuta|poista)|\bne(?:odhlas|rus)|\bne iratkoz|\bnu (?:\w+ ){0,2}dezabon|\bне (?:\w+ ){0,2}(?:отпис|отпиш|удал|відпис|відпиш|видал)"
        r"|停止しないで|解除しないで|不要退|不想退|하지 ?마|لا تلغ|אל תסיר"
    )


def talks_of_requests(text: str) -> str | None:
    """The words of ``text`` that speak about being taken off a list, whatever they want; None where there are none."""
    folded = fold(text[:2000])
    found = _talk_pattern().search(folded)
    return folded[max(0, found.start() - 60) : found.end() + 60].strip() if found else None


def is_negated(texts: Iterable[str]) -> bool:
    """Whether one of ``texts`` asks *not* to be taken off."""
    return any(_negated_pattern().search(fold(text[:2000])) for text in texts)
