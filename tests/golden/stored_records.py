"""The bytes of the sample records, with their content."""

from importlib import import_module
from pkgutil import walk_packages

import msgspec

import otp_service
from tests.golden.samples import SAMPLES


def format_records() -> str:
    """Return the samples with their bytes in hex, each with its content."""
    lines = []
    for label, sample in SAMPLES.items():
        packed = msgspec.msgpack.encode(sample)
        lines += [label, f"  {packed.hex()}", f"  {show_value(msgspec.msgpack.decode(packed))}"]
    return "\n".join(lines) + "\n"


def show_value(value: object) -> str:
    """Return an untyped value as JSON, its bytes in hex and its maps sorted by key."""
    return msgspec.json.encode(_replace_bytes(value), order="sorted").decode()


def _replace_bytes(value: object) -> object:
    match value:
        case bytes():
            return f"hex:{value.hex()}"
        case list() | tuple():
            return [_replace_bytes(item) for item in value]
        case dict():
            return {str(key): _replace_bytes(item) for key, item in value.items()}
        case _:
            return value


def find_positional_structs() -> set[type[msgspec.Struct]]:
    """Return every struct of the package that is encoded by position."""
    for module in walk_packages(otp_service.__path__, "otp_service."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    structs, pending = set(), [msgspec.Struct]
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            is_product = kind.__module__.startswith("otp_service.")
            if is_product and kind.__struct_config__.array_like:
                structs.add(kind)
    return structs
