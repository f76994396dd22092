# ruff: noqa: RUF001  - other scripts have letters that look like Latin ones
"""The text of the message in each language: brand, code, validity, and not to share it.

A text has three placeholders, `{brand}`, `{code}` and `{minutes}`, and a form of "minutes" that is
correct after every number. Without them it has at most 66 bytes of UTF-8 where it fits GSM 03.38,
and 48 UTF-16 units elsewhere, so that brand and code still fit one SMS.

Letters of Latin script that GSM 03.38 lacks lose their accents, as in the SMS of most banks: one
such letter would reduce 160 characters to 70.
"""

import re
from collections.abc import Mapping
from typing import Final


MESSAGE_TEMPLATES: Final[Mapping[str, str]] = {
    # GSM 03.38
    "cs": "Vas kod {brand} je {code}. Plati {minutes} min. Nikomu jej nesdelujte.",
    "da": "Din kode til {brand} er {code}. Den gælder i {minutes} min. Del den ikke.",
    "de": "Ihr Code für {brand} ist {code}. Er gilt {minutes} Min. Nicht weitergeben!",
    "en": "Your {brand} code is {code}. It is valid for {minutes} min. Do not share it.",
    "es": "Su codigo de {brand} es {code}. Es valido por {minutes} min. No lo comparta.",
    "et": "{brand} kood on {code}. See kehtib {minutes} min. Ära jaga seda kellegagi.",
    "fi": "Koodi palveluun {brand}: {code}. Voimassa {minutes} min. Älä jaa sitä.",
    "fr": "Votre code {brand} est {code}. Il est valable {minutes} min. Ne le partagez pas.",
    "hr": "Kod za {brand} je {code}. Vrijedi {minutes} min. Ne dijelite ga ni s kim.",
    "hu": "{brand} kod: {code}. Érvényes {minutes} percig. Ne adja meg senkinek.",
    "id": "Kode {brand} Anda {code}. Berlaku {minutes} menit. Jangan berikan kepada siapa pun.",
    "it": "Il codice {brand} è {code}. Vale {minutes} min. Non condividerlo con nessuno.",
    "lt": "{brand} kodas: {code}. Galioja {minutes} min. Niekam jo neatskleiskite.",
    "ms": "Kod {brand} anda ialah {code}. Sah selama {minutes} minit. Jangan kongsi kod ini.",
    "nb": "Koden din til {brand} er {code}. Den gjelder i {minutes} min. Ikke del den.",
    "nl": "Uw code voor {brand} is {code}. Geldig: {minutes} min. Deel hem met niemand.",
    "pl": "Twoj kod {brand} to {code}. Jest wazny {minutes} min. Nie podawaj go nikomu.",
    "pt": "O seu codigo {brand} é {code}. Valido por {minutes} min. Nao o divulgue.",
    "ro": "Codul {brand} este {code}. Este valabil {minutes} min. Nu il spuneti nimanui.",
    "sk": "Vas kod {brand} je {code}. Plati {minutes} min. Nikomu ho neposkytujte.",
    "sl": "Koda za {brand} je {code}. Velja {minutes} min. Ne delite je z nikomer.",
    "sv": "Din kod för {brand} är {code}. Den gäller i {minutes} min. Dela den inte.",
    "tr": "{brand} kodunuz: {code}. {minutes} dk gecerlidir. Kimseyle paylasmayin.",
    "vi": "Ma {brand} cua ban la {code}. Hieu luc {minutes} phut. Khong chia se ma nay.",
    # UCS-2
    "ar": "رمز {brand} هو {code}. صالح لمدة {minutes} د. لا تشاركه مع أحد.",
    "bg": "Код за {brand}: {code}. Важи {minutes} мин. Не го споделяйте.",
    "el": "Κωδικός {brand}: {code}. Ισχύει {minutes} λεπ. Μην τον κοινοποιήσετε.",
    "fa": "کد {brand}: {code}. اعتبار: {minutes} دقیقه. آن را به کسی ندهید.",
    "he": "הקוד שלך ב-{brand} הוא {code}. תקף {minutes} דק'. אין לשתף אותו.",
    "hi": "{brand} कोड {code} है। {minutes} मिनट तक मान्य। किसी को न बताएं।",
    "ja": "{brand}の認証コードは{code}です。有効期間は{minutes}分です。他人に教えないでください。",
    "ko": "{brand} 인증번호는 {code}입니다. {minutes}분간 유효합니다. 타인에게 알려주지 마세요.",
    "ru": "Код {brand}: {code}. Действует {minutes} мин. Никому не сообщайте.",
    "th": "รหัส {brand} คือ {code} ใช้ได้ {minutes} นาที ห้ามบอกผู้อื่น",
    "uk": "Код {brand}: {code}. Дійсний {minutes} хв. Нікому не повідомляйте.",
    "zh": "您的{brand}验证码是{code}，{minutes}分钟内有效，请勿告诉他人。",
    "zh-Hant": "您的{brand}驗證碼是{code}，{minutes}分鐘內有效，請勿告訴他人。",
}

_ENGLISH_AFTER_DETERMINER: Final = (
    "Your code for {brand} is {code}. It is valid for {minutes} min. Do not share it."
)
_DETERMINER_PATTERN: Final = re.compile(r"(?:the|an?|my|your|our|this)\s", re.IGNORECASE)


def get_template(language: str, brand: str) -> str:
    """Return the text in a language, in a form that is correct before this brand.

    English puts the brand after "Your", where no second article may follow: not "Your The Shop code".
    """
    if language == "en" and _DETERMINER_PATTERN.match(brand):
        return _ENGLISH_AFTER_DETERMINER
    return MESSAGE_TEMPLATES[language]
