"""Two configs side by side."""

from pathlib import Path

import pytest

from rlsd_cli.config.differences import Difference, config_named, differences
from rlsd_cli.config.resolve import resolve
from rlsd_cli.errors import RlsdError


def test_the_keys_whose_values_differ_are_named_and_no_others() -> None:
    first, second = resolve(["quickstart"], {}).config, resolve(["quickstart"], {"optim.lr": 1.0, "seed": 3}).config
    assert differences(first, second) == [Difference("seed", 0, 3), Difference("optim.lr", 5e-5, 1.0)]
    assert differences(first, first) == []


def test_a_key_that_one_method_alone_reads_is_shown_as_unread_on_the_other_side() -> None:
    rlsd, rlvr = (resolve(["quickstart"], {"method": method}).config for method in ("rlsd", "rlvr"))
    rows = {found.key: found.row()[1:] for found in differences(rlsd, rlvr)}
    assert rows["method"] == ("'rlsd'", "'rlvr'")
    assert rows["credit.mix"] == ("0.5", "-")
    assert {found.key: found.row()[1:] for found in differences(rlvr, rlsd)}["credit.mix"] == ("-", "0.5")
    assert "optim.lr" not in rows


def test_a_run_is_named_by_its_name_or_its_path_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "mine"
    run.mkdir()
    (run / "status.json").write_text("{}")
    (run / "config.toml").write_text("method = 'rlvr'\nseed = 9\n")
    assert config_named("mine", tmp_path).seed == config_named(str(run), Path("elsewhere")).seed == 9
    with pytest.raises(RlsdError, match="no preset or file named `mie`"):
        config_named("mie", tmp_path)
