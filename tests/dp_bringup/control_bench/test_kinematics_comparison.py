"""Both solvers run on the same paths; what they are compared by is deterministic."""

import pytest

pytest.importorskip("pink", reason="pink, the reference, is not installed")

from dp_bringup.control_bench.kinematics_comparison import kinematics_rows
from dp_bringup.control_bench.tables import kinematics_table


def test_ours_keeps_the_joint_accelerations_where_the_reference_does_not():
    rows = {(row["path"], row["method"]): row for row in kinematics_rows(duration_s=4.0)}
    assert set(rows) == {(path, who) for path in ("within reach", "leaves the reach") for who in ("ours", "pink")}
    # Both follow what can be followed: the comparison is fair.
    for who in ("ours", "pink"):
        assert rows["within reach", who]["residual_m"] < 1e-3
        assert rows["within reach", who]["acceleration_rad_s2"] < 10.1
        assert rows["leaves the reach", who]["residual_m"] > 0.1
    ours = rows["leaves the reach", "ours"]
    assert ours["acceleration_rad_s2"] <= 10.0 + 1e-6 and ours["failures"] == 0
    assert rows["leaves the reach", "pink"]["acceleration_rad_s2"] > 20.0
    assert kinematics_table(list(rows.values())).count("\n") >= 5
