"""Bounces of Microsoft Exchange, every generation, where the DSN part is missing or tells less than the text.

4.0 to 5.5: ``did not reach the following recipient(s):`` and a line ``address on date``. 2007 and later, Online too: a block
for administrators in the reader's language, in it the generating server, an empty line, the bare address, and either
``#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##`` or ``Remote Server returned '550 5.1.10 ...'``.
"""

from __future__ import annotations

from bounceparse.dialects.engine import Layout
from bounceparse.dialects.prose import ADDRESS

ADMINISTRATORS = (
    "diagnostic information for administrators",
    "informations de diagnostic pour les administrateurs",
    "informazioni di diagnostica per gli amministratori",
    "diagnostische gegevens voor beheerders",
    "informações de diagnóstico para administradores",
    "diagnoseinformationen für administratoren",
    "información de diagnóstico para administradores",
    "información de diagnóstico para los administradores",
    "informacje diagnostyczne dla administratorów",
    "管理者向けの診断情報",
    "диагностические сведения для администраторов",
    "diagnostické informace pro správce",
    "diagnostikinformation för administratörer",
    "diagnosticeringsoplysninger til administratorer",
    "diagnoseoplysninger til administratorer",
    "diagnostikkinformasjon for administratorer",
    "järjestelmänvalvojille",
    "yöneticiler için tanılama bilgileri",
    "yöneticiler için tanı bilgileri",
    "管理员的诊断信息",
    "系統管理員的診斷資訊",
    "관리자용 진단 정보",
    "관리자를 위한 진단 정보",
    "rendszergazdáknak",
    "informații de diagnosticare pentru administratori",
    "διαγνωστικές πληροφορίες για διαχειριστές",
    "діагностичні відомості для адміністраторів",
)
_BARE = rf"\s{{0,8}}(?P<a>{ADDRESS})(?:<mailto:[^>\n]{{1,300}}>)?(?: \({ADDRESS}\))?[ \t]*$"
_TOLD = r"#\s?\d{3}|#[<\[]?\S{0,100} ?#?[245]\.\d{1,3}\.\d|remote server returned|\d{3}[ -]#?[245]\.\d{1,3}\.\d|smtp;|resolver\.|[245]\.\d\.\d{1,3} "

LAYOUTS = (
    Layout(
        name="exchange",
        hints=(*ADMINISTRATORS, "remote server returned '", " ##\n"),
        start=r"(?:" + "|".join(ADMINISTRATORS) + r")[^\n]*",
        recipient=_BARE,
        proof=_TOLD,
    ),
    Layout(  # the block under a heading in a language not listed above
        name="exchange",
        hints=("remote server returned '", " ##", "resolver.adr"),
        recipient=_BARE,
        proof=_TOLD,
    ),
    Layout(  # 2000 and 2003, in any language: the code in angle brackets below each recipient
        name="exchange",
        hints=(" #5.", " #4."),
        recipient=rf"\s{{4,12}}'?(?P<a>{ADDRESS})'?(?: [^\n@]{{1,60}})?$",
        proof=r"<[\w.-]{1,255} #[45]\.\d{1,3}\.\d{1,3}",
    ),
    Layout(
        name="exchange",
        hints=("delivery has failed to these recipients",),
        start=r"delivery has failed to these recipients or (?:groups|distribution lists):",
        recipient=_BARE,
        stop=r"diagnostic information",
    ),
    Layout(
        name="exchange5",
        hints=(
            "did not reach the following recipient",
            "konnte folgende empfänger nicht erreichen",
            "hat folgende(n) empfänger nicht erreicht",
            "n'a pas pu être remis aux destinataires suivants",
            "n'a pas atteint le ou les destinataires suivants",
            "no ha llegado a los siguientes destinatarios",
            "non ha raggiunto i seguenti destinatari",
            "não alcançou o(s) seguinte(s) destinatário(s)",
            "heeft de volgende geadresseerde(n) niet bereikt",
            "nie dotarła do następujących adresatów",
        ),
        start=r"(?:did not reach the following recipient\(?s?\)?|nicht erreich(?:en|t)|destinataires suivants|(?:siguientes|seguinte\(s\)) destinat[aá]rio\(?s\)?|seguenti destinatari"
        r"|geadresseerde\(n\) niet bereikt|następujących adresatów)\s?:",
        recipient=rf"\s{{0,4}}(?:[^\n]{{0,200}}[:;]SMTP=|[\w./ ]{{0,80}}<)?'?(?P<a>{ADDRESS})'?>?;?(?:[ \t]*$| (?:on|am|le|el|il|em|op|dnia|w dniu|den) ?.{{0,60}}$)",
        skip=r"\s{0,12}The MTS-ID|;[acpl]=|[\w ]{0,24};l=",
    ),
    Layout(
        name="exchange5",  # a recipient named by a display name only
        hints=("did not reach the following recipient(s):",),
        start=r"did not reach the following recipient\(s\):",
        recipient=r"(?P<a>(?!))",
        reason=r"(?P<w>.*)$",
        skip=r"\s{0,12}The MTS-ID|;[acpl]=|[\w ]{0,24};l=",
        nameless=True,
    ),
)
