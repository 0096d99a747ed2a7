"""Write constraints.txt: the exact version of every distribution that pip installed into this environment.

Run as `.venv/bin/python tools/lock.py`.
"""

import importlib.metadata
from pathlib import Path

HEADER = """\
# Exact versions for the pip installation (make setup). pyproject.toml carries the ranges.
# Written by `make lock` from a working environment; local build tags (+cpu) are left out so that each
# machine may take its own build of torch.
"""


def pins() -> list[str]:
    """`name==version` of each distribution with an INSTALLER record, sorted; editable installs left out."""
    lines = set()
    for distribution in importlib.metadata.distributions():
        installed_by_pip = (distribution.read_text("INSTALLER") or "").strip() == "pip"
        direct = distribution.read_text("direct_url.json") or ""
        if installed_by_pip and '"editable": true' not in direct:
            lines.add(f"{distribution.metadata['Name'].lower()}=={distribution.version.split('+')[0]}")
    return sorted(lines)


def main() -> None:
    """Rewrite constraints.txt beside pyproject.toml."""
    path = Path(__file__).resolve().parents[1] / "constraints.txt"
    path.write_text(HEADER + "\n".join(pins()) + "\n")
    print(f"{path.name}: {len(pins())} pins")


if __name__ == "__main__":
    main()
