"""The presets as lists show them."""

from typing import NamedTuple

from rlsd_cli.config.resolve import preset_names, preset_path, resolve


class Preset(NamedTuple):
    """A preset: its name and method, the method's source and where it departs from it, data, model, what it is."""

    name: str
    method: str
    source: str
    data: str
    model: str
    about: str
    deviations: tuple[str, ...]


def described() -> list[Preset]:
    """All presets by name."""
    return [_described(name) for name in preset_names()]


def _described(name: str) -> Preset:
    config = resolve([name], {}).config
    about = preset_path(name).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    method = config.recipe
    return Preset(name, method.name, method.source, config.data, config.model, about, method.deviations)
