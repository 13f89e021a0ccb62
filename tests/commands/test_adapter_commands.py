"""A run that trains an adapter, as a user takes it further."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Rlsd = Callable[..., "subprocess.CompletedProcess[str]"]

DATA = ["data=arithmetic:count=400", "evaluation.problems=4"]
SMALL = [*DATA, "steps=1", "prompts_per_step=2", "samples_per_prompt=4", "optim.lr=1e-2"]
READ = [*DATA, "prompt.template={question}", "rollout.max_new_tokens=56"]


def test_an_adapter_is_trained_evaluated_exported_and_no_base_of_another(rlsd: Rlsd, tmp_path: Path) -> None:
    trained = rlsd("train", "adapter.rank=4", *SMALL, "--json")
    assert trained.returncode == 0, trained.stderr
    run = tmp_path / json.loads(trained.stdout)["run"]
    (checkpoint,) = run.glob("checkpoints/*")
    assert (checkpoint / "adapter_config.json").is_file()
    assert not (checkpoint / "model.safetensors").exists()

    def accuracy(*what: str) -> float:
        done = rlsd("eval", *what, "--json")
        assert done.returncode == 0, done.stderr
        found: float = json.loads(done.stdout)["mean"]
        return found

    of_run = accuracy(run.name)
    for flags, file in (["--adapter"], "adapter_model.safetensors"), (["--force"], "model.safetensors"):
        exported = rlsd("models", "export", run.name, "out", "--dtype", "float32", *flags)
        assert exported.returncode == 0, exported.stderr
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert file in names
        assert not ({"adapter_model.safetensors", "model.safetensors"} - {file}) & names
        assert "trainer_state" not in names
    assert accuracy("out", *READ) == of_run
    onto_itself = rlsd("models", "export", run.name, str(checkpoint), "--force")
    assert onto_itself.returncode == 2
    assert "is what is to be exported" in onto_itself.stderr
    assert (checkpoint / "adapter_model.safetensors").is_file()
    held = rlsd("models", "export", run.name, "out", "--adapter")
    assert held.returncode == 2
    assert "--force" in held.stderr

    second = rlsd("train", f"model={checkpoint}", "adapter.rank=4", *SMALL)
    assert second.returncode == 2
    assert "cannot be the base of an adapter" in second.stderr
