"""What each method costs: seconds of a step, beside `rlvr`, on the same policy in one process.

    python benchmarks/methods/bench.py                       the embedded policy
    python benchmarks/methods/bench.py --model smollm2       SmolLM2-135M (`rlsd models get smollm2-135m-instruct`)

All methods start from the same weights and problems and take turns, one step each, with the defaults that belong to the
method; the first step of each is not counted. A method that draws more responses or continues prefixes pays for them
here. `rlvr` takes part twice: the ratio of the two says how far a ratio can be trusted.
"""

import argparse
import os
import statistics
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.common import write

MODELS: Mapping[str, Mapping[str, Any]] = {
    "quickstart": {"preset": "quickstart", "optim.tokens_per_microbatch": 2048},
    "smollm2": {"preset": "smollm2-sums-rlsd", "prompts_per_step": 4, "samples_per_prompt": 4},
}
AGAIN = "rlvr again"


def config_of(model: str, method: str) -> Any:
    """The config of a method on a model: its own defaults, above those of the preset as far as both read them."""
    from rlsd_cli.config.reads import reads
    from rlsd_cli.config.resolve import COMMAND_LINE, Layer, merge, target_layer
    from rlsd_cli.methods.table import METHODS

    settings = dict(MODELS[model])
    _, layer = target_layer(settings.pop("preset"))
    own = METHODS["rlvr" if method == AGAIN else method]
    base = {key: value for key, value in layer.values.items() if reads(own, key) and not key.startswith("credit.")}
    asked = {key: value for key, value in settings.items() if reads(own, key)}
    return merge([Layer("preset", base | dict(own.defaults))], Layer(COMMAND_LINE, asked | {"method": own.name})).config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="quickstart")
    parser.add_argument("--steps", type=int, default=5, help="steps of each method after its first")
    options = parser.parse_args()

    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as `rlsd train` does, before torch is loaded
    from rlsd_cli.data.sources import load_splits
    from rlsd_cli.grading.jobs import open_pool
    from rlsd_cli.interrupts import Interrupts
    from rlsd_cli.methods.table import METHODS
    from rlsd_cli.policy.model import load_trainable
    from rlsd_cli.policy.models import make_models
    from rlsd_cli.rollout.engine import make_sampler
    from rlsd_cli.training.trainer import make_trainer

    configs = {name: config_of(options.model, name) for name in [*METHODS, AGAIN]}
    splits = load_splits(configs["rlvr"])
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    with open_pool(configs["rlvr"]) as pool:
        trainers = {}
        for name, config in configs.items():
            policy = load_trainable(config)
            sampler = make_sampler(policy, config)
            sampler.update_weights()
            trainers[name] = make_trainer(config, make_models(policy, config), sampler, pool, splits, Interrupts())
        for step in range(1, options.steps + 2):
            for name, trainer in trainers.items():
                started = time.perf_counter()
                trainer.step(step)
                trainer.learner.interrupts.release()
                if step > 1:
                    seconds[name].append(time.perf_counter() - started)

    base = statistics.median(seconds["rlvr"])
    print("method\tseconds a step\trange\tratio to rlvr")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name}\t{median:.3f}\t{min(values):.3f}-{max(values):.3f}\t{median / base:.2f}")
    write(f"methods-{options.model}", {"steps": options.steps, "seconds": seconds})


if __name__ == "__main__":
    main()
