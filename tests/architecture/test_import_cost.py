"""What a process does not wait for at its start, looked for in a fresh one."""

import subprocess
import sys

import pytest

#: What knows schedulers, what runs policies, and what every command and node imports.
MODULES = (
    *("dp_policy.config", "dp_policy.samplers", "dp_policy.heads.diffusion", "dp_policy.reference"),
    *("dp_policy.engine", "dp_policy_node.node"),
)


@pytest.mark.parametrize("slow", ["diffusers"])
def test_slow_libraries_are_imported_where_they_are_needed(slow):
    script = f"import sys, {', '.join(MODULES)}\nprint({slow!r} in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert ran.stdout.split() == ["False"]
