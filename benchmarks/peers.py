"""The tools that mergegraph is timed against, each a program in an environment of its own.

    python benchmarks/peers.py ENVIRONMENTS_DIR

Makes the environments that ENVIRONMENTS_DIR lacks, with pip and from the index that pip is set up with: 2 GB, a few
minutes. Everything that decides speed is pinned, torch with it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cases import Case

TORCH: Final = "torch==2.13.0"
PACKAGES: Final = {"mergekit": "mergekit==0.1.5", "sd-mecha": "sd-mecha==1.1.8"}
SCRIPT: Final = Path(__file__).resolve().with_name("merge_with_sd_mecha.py")
SEED: Final = "7"


def programs(environments: Path, peer: str) -> Path:
    """The folder of the programs of a peer's environment, which is made when it is missing."""
    place = environments / peer
    if not (place / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        for packages in ([TORCH], [TORCH, PACKAGES[peer]]):
            subprocess.run([place / "bin" / "pip", "install", "--quiet", *packages], check=True)
        (place / "complete").touch()
    return place / "bin"


def environment() -> Mapping[str, str]:
    """This process's variables without the path to this tree, and with the Hugging Face hub turned off."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def mergekit_command(programs: Path, case: Case, family: Path, scratch: Path, dtype: str = "bfloat16") -> list[str]:
    """Its defaults, but for the tokenizer that the inputs do not have and the progress bars that are not seen."""
    config = scratch / "mergekit.yaml"
    config.write_text(json.dumps(case.mergekit(family, dtype), indent=2))
    options = ("--no-copy-tokenizer", "--no-write-model-card", "--quiet", "--random-seed", SEED)
    return [str(programs / "mergekit-yaml"), str(config), str(scratch / "out"), *options]


def sd_mecha_command(programs: Path, case: Case, family: Path, scratch: Path) -> list[str]:
    request = scratch / "sd-mecha.json"
    request.write_text(json.dumps(case.sd_mecha(family, scratch / "out"), indent=2))
    return [str(programs / "python"), str(SCRIPT), str(request)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the environments of the tools to compare with.")
    parser.add_argument("environments", metavar="ENVIRONMENTS_DIR", type=Path)
    environments: Path = parser.parse_args().environments.resolve()
    for peer in PACKAGES:
        print(f"{PACKAGES[peer]}  {programs(environments, peer)}", flush=True)


if __name__ == "__main__":
    main()
