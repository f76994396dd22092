"""Every event type as text: its fields, and instances as they are encoded."""

from typing import Any

import msgspec
from msgspec import inspect

from otp_service.core.events import EVENT_TYPES, Event


def format_event_table() -> str:
    """Return each event type with the name, type and default of its fields, in their order."""
    lines = []
    for tag, kind in sorted(EVENT_TYPES.items()):
        lines.append(tag)
        fields = _list_fields(kind)
        lines += [f"  {name:<14}  {type_:<32}  {default}" for name, type_, default in fields]
        lines.append("")
    return "\n".join(lines)


def format_event_instances() -> str:
    """Return the JSON of two instances of each type: every field set, and only the required ones."""
    lines = []
    for tag, kind in sorted(EVENT_TYPES.items()):
        all_fields = {
            f.name: _make_sample(f.name, f.type, i)
            for i, f in enumerate(_inspect_fields(kind), start=1)
        }
        required_fields = {f.name: all_fields[f.name] for f in _inspect_fields(kind) if f.required}
        lines += [
            tag,
            *(
                msgspec.json.encode(kind(**fields)).decode()
                for fields in (all_fields, required_fields)
            ),
            "",
        ]
    return "\n".join(lines)


def _inspect_fields(kind: type[Event]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _list_fields(kind: type[Event]) -> list[tuple[str, str, str]]:
    return [
        (f.encode_name, _name_type(f.type), _describe_default(f)) for f in _inspect_fields(kind)
    ]


def _describe_default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return f"{msgspec.json.encode(field.default_factory()).decode()}, always written"
    return f"{msgspec.json.encode(field.default).decode()}, omitted"


def _name_type(type_: inspect.Type) -> str:
    match type_:
        case inspect.StrType():
            return "string"
        case inspect.BoolType():
            return "boolean"
        case inspect.IntType():
            return "integer"
        case inspect.NoneType():
            return "null"
        case inspect.DictType():
            return f"map of {_name_type(type_.key_type)} to {_name_type(type_.value_type)}"
        case inspect.UnionType():
            return " or ".join(_name_type(member) for member in type_.types)
        case _:
            raise TypeError(f"the event table has no name for {type_}")


def _make_sample(name: str, type_: inspect.Type, number: int) -> Any:
    """Return a value that no other field of the event has."""
    match type_:
        case inspect.StrType():
            return f"value {number}"
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return number
        case inspect.DictType():
            return {"config": f"value {number}"}
        case inspect.UnionType():
            value_types = [
                member for member in type_.types if not isinstance(member, inspect.NoneType)
            ]
            return _make_sample(name, value_types[0], number)
        case _:
            raise TypeError(f"no sample for {name}: {type_}")
