"""The table of methods: complete, and every name that a method uses leads somewhere."""

import importlib
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import rlsd_cli.methods as package
from rlsd_cli.config.reads import reads
from rlsd_cli.config.resolve import COMMAND_LINE, Layer, known_method, merge
from rlsd_cli.config.schema import Config, fields_of, flatten
from rlsd_cli.data.views import OF_GROUPS, OF_OTHERS, OF_PROBLEMS
from rlsd_cli.errors import RlsdError
from rlsd_cli.methods.base import STUDENT, Attempt, Distill, Method
from rlsd_cli.methods.table import ALIASES, METHODS, ORDER

MODULES = {
    name: importlib.import_module(f"{package.__name__}.{name}")
    for name in (module.name for module in pkgutil.iter_modules(package.__path__))
    if name not in ("base", "rules", "table")
}
ATTEMPT = Attempt(0, STUDENT, "2 + 2 = 4", 1.0, True, 0.5, False, None)


def config_of(name: str) -> Config:
    """The config of a method with its own defaults."""
    return merge([], Layer(COMMAND_LINE, {"method": name})).config


def test_every_module_is_a_method_of_the_table() -> None:
    assert len(METHODS) == len(MODULES) >= 4
    for name, module in MODULES.items():
        assert isinstance(module.METHOD, Method), name
        assert METHODS[module.METHOD.name] is module.METHOD


def test_the_table_begins_with_the_order_of_the_docs_and_goes_on_by_name() -> None:
    names = [*METHODS]
    assert names[: len(ORDER)] == [*ORDER]
    assert names[len(ORDER) :] == sorted(names[len(ORDER) :])


def test_a_name_leads_to_one_method() -> None:
    names = Counter([*METHODS, *(alias for method in METHODS.values() for alias in method.aliases)])
    assert [name for name, count in names.items() if count > 1] == []
    assert {alias: known_method(alias).name for alias in ALIASES} == dict(ALIASES)
    assert known_method("grpo") is METHODS["rlvr"]
    with pytest.raises(RlsdError) as caught:
        known_method("grop")
    assert (caught.value.hint or "").startswith("did you mean `grpo`")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is_and_where_it_is_from(name: str) -> None:
    method = METHODS[name]
    assert method.name == name == name.lower()
    assert method.summary.strip()
    assert "\n" not in method.summary
    assert method.source.strip()
    assert method.terms
    assert method.responses in ("policy", "solution")


@pytest.mark.parametrize("name", METHODS)
def test_a_default_of_a_method_is_of_a_key_that_it_reads(name: str) -> None:
    method = METHODS[name]
    assert [key for key in method.defaults if key not in fields_of(name)] == []
    values = flatten(config_of(name))
    assert dict(method.defaults).items() <= values.items()


@pytest.mark.parametrize("name", METHODS)
def test_the_settings_of_a_method_are_keys_with_a_description_and_have_names_of_their_own(name: str) -> None:
    own = METHODS[name].settings.model_fields
    fields = fields_of(name)
    assert [key for key in fields if key.startswith("credit.")] == [f"credit.{field}" for field in own]
    assert all((fields[f"credit.{field}"].description or "").strip() for field in own)
    assert type(config_of(name).credit) is METHODS[name].settings


@pytest.mark.parametrize("name", METHODS)
def test_a_view_shows_something_that_there_is_and_a_term_distils_a_view_that_there_is(name: str) -> None:
    method = METHODS[name]
    for view in method.views.values():
        assert view.most(method.settings()) >= 1
        if view.shows is None:
            assert reads(method, "teacher.view")
        else:
            assert view.shows in {*OF_PROBLEMS, *OF_GROUPS, *OF_OTHERS}
    assert {term.view for term in method.terms if isinstance(term, Distill)} <= method.views.keys()
    assert method.distilled <= method.views.keys()


@pytest.mark.parametrize("name", METHODS)
def test_schedules_routes_and_coefficients_take_the_settings_of_the_method(name: str) -> None:
    method, settings = METHODS[name], config_of(name).credit
    for step in (1, 2, 10_000):
        numbers = [*(term.coef for term in method.terms), *method.schedules.values()]
        assert all(isinstance(number(settings, step), float) for number in numbers)
        assert all(isinstance(view.when(settings, step), bool) for view in method.views.values())
    routes = [route for term in method.terms for route in (term.route, term.moves)]
    routes += [view.where for view in method.views.values()]
    assert all(isinstance(route(ATTEMPT, (ATTEMPT,), settings), bool) for route in routes)
    assert all(view.tokens(settings) in ("all", "thought") for view in method.views.values())


def test_views_have_different_names_and_the_key_names_those_that_there_are() -> None:
    names = Counter([*OF_PROBLEMS, *OF_GROUPS, *OF_OTHERS])
    assert [name for name, count in names.items() if count > 1] == []
    described = fields_of("rlsd")["teacher.view"].annotation
    assert set(OF_PROBLEMS) < set(described.__args__) < set(names)  # type: ignore[union-attr]


def test_the_table_of_methods_loads_no_torch() -> None:
    program = (
        "import sys, rlsd_cli.methods.table as table\n"
        "assert len(table.METHODS) >= 4\n"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_the_table_of_the_docs_has_every_method_once_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = page.split("| method | what a teacher reads")[1].split("\n\n")[0].splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(METHODS)
