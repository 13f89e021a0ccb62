"""Layers into one config: defaults, those of the method, presets or files, `key=value`; later wins.

Every problem in every layer is found before anything is reported, and each is reported with the place it came from. A
key that the method does not read is refused; where a file was written for another method than the one that is asked
for, it is left out, which is noted.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import tomli_w
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rlsd_cli.config.choices import CHOICES
from rlsd_cli.config.reads import readers, reads
from rlsd_cli.config.schema import DEFAULT_METHOD, Config, all_fields, config_type, fields_of, flatten
from rlsd_cli.errors import RlsdError, did_you_mean
from rlsd_cli.methods.base import Method
from rlsd_cli.methods.table import ALIASES, METHODS

COMMAND_LINE = "command line"
LOCATIONS = ("model", "data", "eval_data")
"""Keys whose value is a name or a path."""


class Layer(NamedTuple):
    """Dotted keys and values from one origin, e.g. `preset gsm8k-rlsd`."""

    origin: str
    values: Mapping[str, Any]


class Resolved(NamedTuple):
    """A config, and the origins of its values.

    origins: the layer that each value came from, by key
    base: the presets or files that a run is named after
    changed: keys that the command line changes
    notes: lines for the user: an alias of the method, keys that were left out
    """

    config: Config
    origins: Mapping[str, str]
    base: str
    changed: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str, str]]:
        """Every key that the method reads, its value as Python shows it, and the value's origin.

        What differs from the defaults of the method comes first.
        """
        defaults = {key: field.default for key, field in fields_of(self.config.method).items()}
        defaults |= self.config.recipe.defaults
        rows = [(key, repr(value), self.origins[key]) for key, value in flatten(self.config).items()]
        return sorted(rows, key=lambda row: row[0] != "method" and row[1] == repr(defaults[row[0]]))

    def as_json(self) -> dict[str, Any]:
        """The same by key, with the values as they are."""
        return {key: {"value": value, "origin": self.origins[key]} for key, value in flatten(self.config).items()}


class Key(NamedTuple):
    """One line of the key reference."""

    name: str
    kind: str
    default: Any
    description: str


# -- the key reference --------------------------------------------------------------------------------------------

FIELDS: Mapping[str, FieldInfo] = all_fields()
TABLES = tuple(key for key, field in FIELDS.items() if get_origin(field.annotation) is dict)
"""Keys whose value is a table. Layers add to it: `reward.parts.format` is the entry `format` of `reward.parts`."""


def _kind(key: str, schema: Mapping[str, Any]) -> str:
    """The type and bounds of a key as the reference shows them, e.g. `float > 0`."""
    *path, last = key.split(".")
    node = schema
    for part in path:
        node = schema["$defs"][node["properties"][part]["$ref"].rsplit("/", 1)[-1]]
    field = node["properties"][last]
    return " or ".join(_kind_of(option) for option in field.get("anyOf", [field]))


def _kind_of(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        return "|".join(map(str, option["enum"]))
    if option.get("type") == "array":
        return f"list of {_kind_of(option['items'])}s"
    if option.get("type") == "object":
        return f"table of {_kind_of({'type': option['additionalProperties']['type']})}s"
    words = {"number": "float", "integer": "int", "string": "text", "boolean": "true|false", "null": "none"}
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = [f"{sign} {option[name]:g}" for name, sign in signs.items() if name in option]
    return " ".join([words[option["type"]], ", ".join(bounds)]).strip()


def config_keys(prefix: str = "", method: str = DEFAULT_METHOD) -> list[Key]:
    """The keys that a method reads, or those of them under `prefix`."""
    fields, schema = fields_of(method), config_type(method).model_json_schema()
    defaults = {**{key: field.default for key, field in fields.items()}, **METHODS[method].defaults}
    chosen = [key for key in fields if key == prefix or key.startswith(f"{prefix}.") or not prefix]
    if not chosen:
        if names := [key for key in FIELDS if key == prefix or key.startswith(f"{prefix}.")]:
            raise RlsdError(f"method `{method}` does not read `{prefix}`", hint=_read_by(names))
        sections = {key.split(".")[0] for key in FIELDS if "." in key}
        raise RlsdError(f"no config key or section `{prefix}`", hint=did_you_mean(prefix, [*FIELDS, *sections]))
    return [Key(key, _kind(key, schema), defaults[key], fields[key].description or "") for key in chosen]


def _read_by(keys: Iterable[str]) -> str:
    """A hint that names the methods that read these keys."""
    by_methods: dict[str, list[str]] = {}
    for key in keys:
        by_methods.setdefault(", ".join(f"`{name}`" for name in readers(key)), []).append(f"`{key}`")
    return "\n".join(f"{', '.join(names)}: read by {methods}" for methods, names in by_methods.items())


def _flatten_table(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        is_section = isinstance(value, dict) and prefix + name not in TABLES
        flat |= _flatten_table(value, f"{prefix}{name}.") if is_section else {prefix + name: value}
    return flat


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


# -- presets and files ---------------------------------------------------------------------------------------------


def presets_dir() -> Path:
    """The `presets/` folder: the one beside `pyproject.toml` in a checkout, else the packaged copy."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "presets"
    return checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / "presets"


def preset_names() -> list[str]:
    return sorted(path.stem for path in presets_dir().glob("*.toml"))


def preset_path(name: str) -> Path:
    """The file of a preset; raises RlsdError with a suggestion for an unknown name."""
    path = presets_dir() / f"{name}.toml"
    if name not in preset_names():
        raise RlsdError(f"no preset named `{name}`", hint=did_you_mean(name, preset_names()))
    return path


def read_toml(path: Path, origin: str) -> Layer:
    """A TOML file as one layer."""
    try:
        return Layer(origin, _flatten_table(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RlsdError(f"{path} is not valid TOML: {error}") from error


def target_layer(target: str) -> tuple[str, Layer]:
    """The layer of a PRESET or FILE argument, and the name that a run takes from it."""
    path = Path(target)
    if target in preset_names():
        return target, read_toml(preset_path(target), f"preset {target}")
    if path.is_file():
        run_config = path.name == "config.toml" and (path.parent / "status.json").is_file()
        return (path.parent.name if run_config else path.stem), read_toml(path, f"file {path}")
    looks_like_file = "/" in target or target.endswith(".toml")
    raise RlsdError(
        f"no file `{target}`" if looks_like_file else f"no preset or file named `{target}`",
        hint=did_you_mean(target, preset_names()) or "`rlsd presets list` shows the presets",
    )


# -- key=value -----------------------------------------------------------------------------------------------------


def split_arguments(arguments: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Positional arguments into targets and `key=value` overrides; `data.jsonl` and `sums:count=9` are targets.

    The name of a table's entry may be a path.
    """
    targets: list[str] = []
    overrides: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        is_entry = key.startswith(tuple(f"{table}." for table in TABLES))
        if equals and (is_entry or ("/" not in key and ":" not in key)):
            overrides[key.strip()] = parse_value(text.strip())
        else:
            targets.append(argument)
    return targets, overrides


def parse_value(text: str) -> Any:
    """A TOML value (`1e-6`, `true`, `[1, 2]`, `"a b"`); `none` is None and any other bare word is a string."""
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# -- layers into a config ------------------------------------------------------------------------------------------


def resolve(targets: Sequence[str], overrides: Mapping[str, Any]) -> Resolved:
    """The config of PRESET|FILE... and `key=value`...; raises one RlsdError that names every problem."""
    named = [target_layer(target) for target in targets or ["quickstart"]]
    resolved = merge([layer for _, layer in named], Layer(COMMAND_LINE, overrides))
    return resolved._replace(base="+".join(name for name, _ in named))


def merge(layers: Sequence[Layer], command_line: Layer) -> Resolved:
    """Layers, lowest first, and the command line on top of them."""
    given = [_with_tables(layer) for layer in (*layers, command_line)]
    default = Layer("default", {"method": DEFAULT_METHOD})
    asks = next(layer for layer in (*reversed(given), default) if "method" in layer.values)
    asked_for = asks.values["method"]
    problems, hints = _unknown_keys(given)
    try:
        method = known_method(str(asked_for))
    except RlsdError as error:
        problem = f"`method` = {asked_for!r} ({asks.origin}): {error.message}"
        raise RlsdError("\n".join([*problems, problem]), hint=_joined([*hints, error.hint])) from None
    notes, unread = _unread(given, method)
    problems += [
        f"`{key}` = {value!r} ({origin}): method `{method.name}` does not read it" for key, value, origin in unread
    ]
    hints += [_read_by(key for key, _, _ in unread)]
    if asked_for in ALIASES:
        notes.insert(0, f"`{asked_for}` is the method `{method.name}`: {method.summary}")
    stack = list(_with_choices([Layer(f"method {method.name}", method.defaults), *given]))

    values: dict[str, Any] = {}
    fields = fields_of(method.name)
    origins = dict.fromkeys(fields, "default")
    for layer in stack:
        known = {key: _worded(fields[key], value) for key, value in layer.values.items() if key in fields}
        values |= {key: _added(value, values.get(key, fields[key].default)) for key, value in known.items()}
        origins |= dict.fromkeys(known, layer.origin)
    try:
        config = config_type(method.name).model_validate(_nest(values | {"method": method.name}))
    except ValidationError as error:
        problems += _validation_problems(error, values, origins)
    if problems:
        raise RlsdError("\n".join(problems), hint=_joined(hints))
    return Resolved(config, origins, "", _changed(stack, fields), tuple(notes))


def _with_tables(layer: Layer) -> Layer:
    """A layer whose entries of tables are in their tables."""
    values: dict[str, Any] = {}
    for key, value in layer.values.items():
        table = next((name for name in TABLES if key.startswith(f"{name}.")), None)
        if table is None:
            values[key] = _added(value, values.get(key))
        else:
            values[table] = _added({key.removeprefix(f"{table}.").strip("\"'"): value}, values.get(table))
    return layer._replace(values=values)


def _added(value: Any, below: Any) -> Any:
    """A value of a layer above the one below it: a table adds to it."""
    return {**below, **value} if isinstance(value, dict) and isinstance(below, dict) else value


def _changed(stack: Sequence[Layer], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """What the last layer changes of those below it; of a table its entries."""
    below = {key: field.default for key, field in fields.items()}
    for layer in stack[:-1]:
        below |= {key: _added(value, below.get(key)) for key, value in layer.values.items()}
    asked = {key: _worded(fields[key], value) for key, value in stack[-1].values.items()}
    changed: dict[str, Any] = {}
    for key, value in asked.items():
        if isinstance(value, dict):
            had = below[key] if isinstance(below[key], dict) else {}
            changed |= {f"{key}.{name}": each for name, each in value.items() if each != had.get(name, 0)}
        elif value != below[key]:
            changed[key] = value
    return changed


def known_method(name: str) -> Method:
    """The method of a name, or of one of its other names.

    Raises:
        RlsdError: there is none.
    """
    if (method := METHODS.get(ALIASES.get(name, name))) is None:
        hint = did_you_mean(name, [*METHODS, *ALIASES]) or "methods: " + ", ".join(METHODS)
        raise RlsdError(f"no method named `{name}`", hint=hint)
    return method


def _joined(hints: Iterable[str | None]) -> str | None:
    return "\n".join(dict.fromkeys(hint for hint in hints if hint)) or None


def _named(keys: Iterable[str]) -> str:
    """Keys by name; more than four by section, with their number."""
    names = list(keys)
    if len(names) > 4:
        sections = Counter(name.rpartition(".")[0] or name for name in names)
        return ", ".join(f"`{name}`" + (f" ({count} keys)" if count > 1 else "") for name, count in sections.items())
    return ", ".join(f"`{name}`" for name in names)


Unread = tuple[str, Any, str]
"""A key that the method does not read, its value, and the layer that has it."""


def _unread(layers: Sequence[Layer], method: Method) -> tuple[list[str], list[Unread]]:
    """What the layers have that the method does not read: notes on what is left out, and what is refused.

    A file that was written for another method may have such keys, and any file may repeat a default.
    """
    notes, refused = list[str](), list[Unread]()
    written_for = DEFAULT_METHOD
    for layer in layers:
        written_for = ALIASES.get(own := str(layer.values.get("method", written_for)), own)
        unread = {key: value for key, value in layer.values.items() if key in FIELDS and not reads(method, key)}
        if layer is not layers[-1]:
            if written_for != method.name and unread:
                notes.append(f"{layer.origin}: method `{method.name}` does not read {_named(unread)}: left out")
                written = {}
            else:
                written = {key: value for key, value in unread.items() if not _is_default(key, value)}
        else:
            written = unread
        refused += [(key, value, layer.origin) for key, value in written.items()]
    return notes, refused


def _is_default(key: str, value: Any) -> bool:
    return bool(_worded(FIELDS[key], value) == FIELDS[key].default)


def _with_choices(stack: Iterable[Layer]) -> Iterator[Layer]:
    """The layers, each preceded by the defaults of a choice (see `CHOICES`) that it makes."""
    chosen = {key: FIELDS[key].default for key in CHOICES}
    for layer in stack:
        for key, options in CHOICES.items():
            choice = layer.values.get(key, chosen[key])
            if choice != chosen[key] and isinstance(choice, str) and choice in options:
                chosen[key] = choice
                yield Layer(f"{key}={choice}", options[choice])
        yield layer


def _unknown_keys(layers: Iterable[Layer]) -> tuple[list[str], list[str]]:
    problems, hints = [], []
    for layer in layers:
        for key, value in layer.values.items():
            if key in FIELDS:
                continue
            inside = [name for name in FIELDS if name.startswith(f"{key}.")]
            if inside:
                problems.append(f"`{key}` = {value!r} ({layer.origin}): this is a section, not a key")
                hints.append(f"its keys: {', '.join(f'`{name}`' for name in inside)}")
            else:
                problems.append(f"unknown key `{key}` in {layer.origin}")
                hints.append(did_you_mean(key, FIELDS) or "`rlsd config keys` lists them all")
    return problems, hints


def _worded(field: FieldInfo, value: Any) -> Any:
    """`none` and `true` are words where the key takes words; Python would count True as 1. In a file `none` is a word,
    and None where the key takes none."""
    annotation = field.annotation
    if value == "none" and type(None) in get_args(annotation) and str not in get_args(annotation):
        return None
    if value is None and get_origin(annotation) is Literal and "none" in get_args(annotation):
        return "none"
    takes_bool = bool in (annotation, *get_args(annotation))
    return str(value).lower() if isinstance(value, bool) and not takes_bool else value


def _validation_problems(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    problems = []
    for issue in error.errors():
        path = [str(part) for part in issue["loc"]]
        key = next((name for end in range(len(path), 0, -1) if (name := ".".join(path[:end])) in FIELDS), None)
        message = issue["msg"].removeprefix("Value error, ")
        if key:
            name, value = key, values.get(key)
            if key in TABLES and (entry := "".join(path[key.count(".") + 1 :][:1])):
                name, value = f"{key}.{entry}", value and value[entry]
            message = f"`{name}` = {value!r} ({origins[key]}): {message[0].lower()}{message[1:]}"
        problems.append(message)
    return list(dict.fromkeys(problems))


# -- writing -------------------------------------------------------------------------------------------------------


def to_toml(config: Config) -> str:
    """The keys that the method reads, as TOML; a None is left out unless the method's own default is another value.

    What a table lacks of its default is in it as 0, which removes it.
    """
    against = config.recipe.defaults.keys()
    values = {key: value for key, value in flatten(config).items() if value is not None or key in against}
    for key in values.keys() & set(TABLES):
        values[key] = dict.fromkeys(FIELDS[key].default, 0.0) | values[key]
    return tomli_w.dumps(_nest({key: "none" if value is None else value for key, value in values.items()}))
