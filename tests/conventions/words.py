"""The word lists of the conventions, each exception with its reason."""

_VERB_TEXT = """
    accept aclose acquire add advance align allow allows anchor answer append apply archive
    assert assign attach authenticate authorize auto await begin bind block build cache
    calculate call can cancel canonicalize cap change charge check choose claim clamp classify
    clean clear close collect commit compare compile compute configure confirm connect
    construct consume contains convert copy count create cut decide decode decrement decrypt
    delete deliver demote deny derive describe detach detect determine dispatch drain draw
    drop dump emit enable encode encrypt end enforce enqueue enroll ensure enter enumerate
    erase escape estimate evaluate exchange exclude execute exit expand expire export extend
    extract fail fetch fill filter find finish flatten flush fold follow forget format forward
    frame gather generate get give grant group guess hand handle has hash hide hold identify
    ignore import includes increment index init initialize insert inspect install interpret is
    issue iter iterate join keep label learn leave link list listen load locate lock log look
    make mark mask match matches measure merge migrate monitor move must name needs normalize
    note notify observe obtain open opt order pack parse pass pause peek persist pick poll pop
    prepare print process produce prove publish pull purge push put quote raise raises rank
    read receive reconnect record recover redact redirect refresh refund refuse register
    reject release reload remember remove rename render renew repeat replace replay report
    represent request require reseal resend reserve reset resolve respond restart restore
    resume retain retire retry return reveal revoke rewrite rotate route run sample sanitize
    save scan schedule score seal search select send serialize serve set settle share should
    show shut sign skip sleep sort spend split start stop store strip submit subscribe
    substitute sum summarize supports swap sweep switch sync tail take tear tell test throttle
    to trace track translate trim truncate trust try unblock unlock unpack unseal untrust
    update upgrade use validate verify view wait walk warn watch will withdraw wrap write
    yield
"""

VERBS = frozenset(_VERB_TEXT.split())
"""Words that a function may begin with. A word is added when it is used as a verb here."""

ALLOWED_MODULES = {
    "embedded": "an adjective that the field uses for a server inside the process",
    "hashing": "the field's noun",
    "routing": "the field's noun",
    "threaded": "the field's adjective for what blocks in a thread",
    "tracing": "the field's noun",
}

ALLOWED_DOUBLED_MODULES: dict[str, str] = {
    "recovery_codes": "core has the codes and api the calls about them: the same thing",
    "accounts": "service has the use case and cli the command about one account: the same thing",
    "numbers": "service has the use cases and cli the commands about one number: the same thing",
    "inbox": "sms/providers keeps the development inbox and api serves it: the same thing",
}

ALLOWED_CONSTANTS: dict[str, str] = {
    "DEBUG": "a setting of Django",
    "MIDDLEWARE": "a setting of Django",
    "TEMPLATES": "a setting of Django",
    "UNBIND": "the name of the command in SMPP 3.4, 5.1.2.1",
}

ALLOWED_PROSE: tuple[str, ...] = (
    "a thief's hours",  # CHANGELOG.md lists names that changed
    "NOT TOLD BY A WORKER",  # the same
    "`told` | `status`",  # the same
)

FORBIDDEN_PROSE = (
    (r"\b(?:anew|beside|beneath|seldom|hence|lest|whence|thereof)\b|as it were", "plain English"),
    (
        r"\b(?:whoever|whomever|nobody|somebody|everybody|strangers?|thief|thieves)\b",
        "name the role: the caller, a process, an attacker",
    ),
    (r"\b(?:he|she|him|his|hers?|himself|herself)\b", "programs and callers are 'it'"),
    (r"\b(?:is|are) none\b", "say it with an adjective: invalid, missing, unknown, empty"),
    (r"\b(?:tells?|told)\b", "data is logged, reported, recorded, returned"),
    (r"\b(?:stands?|stood)\b(?! for)", "data is stored, written, appended, listed"),
    (r"\bis to (?:be|have)\b", "present tense, active voice"),
)
