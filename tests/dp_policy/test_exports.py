"""Exports remember the choice of a runtime, carry its library, and are refused where they were damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dp_policy.checkpoint import INFO_FILE, MODEL_FILE, CheckpointError, LoadedPolicy, load_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.engine import Engine
from dp_policy.runtime import selection
from dp_policy.runtime.artefact import RUNTIME_FILE, export_policy, load_policy_or_export
from dp_policy.runtime.selection import Choice

from .runtime_choices import SAMPLER, require, saved, times


@pytest.fixture
def loaded(small_config: Callable[..., PolicyConfig], tmp_path: Path) -> LoadedPolicy:
    return saved(small_config(diffusion=SAMPLER), tmp_path / "checkpoint")


def test_export_is_a_checkpoint_that_needs_no_measuring(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require("native-int8", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, native_int8=1.0)
    report = export_policy(loaded, tmp_path / "export", 1, "int8")
    assert report.choice == Choice("native-int8", "reference")
    assert (tmp_path / "export" / report.library).is_file()
    exported = load_policy_or_export(tmp_path / "export")
    assert exported.policy_id == loaded.policy_id == report.policy_id

    def measured(*_: object) -> dict:
        raise AssertionError("measured although the choice is stored")

    monkeypatch.setattr(selection, "fastest_ms", measured)
    description = Engine(exported, warmup_runs=0).description
    assert description.startswith("denoiser native-int8, encoder reference (stored by the export)")


def test_export_carries_the_library_to_computers_without_a_compiler(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require("native-bf16", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, native_bf16=1.0)
    export_policy(loaded, tmp_path / "export")
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", "")
    assert Engine(load_policy_or_export(tmp_path / "export"), warmup_runs=0).description.startswith(
        "denoiser native-bf16"
    )


def test_a_carried_library_that_changed_on_its_way_is_not_loaded(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require("native-bf16", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, native_bf16=1.0)
    report = export_policy(loaded, tmp_path / "export")
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", "")
    carried, manifest = report.folder / report.library, report.folder / RUNTIME_FILE
    code, numbers = bytearray(carried.read_bytes()), json.loads(manifest.read_text())
    code[-1] ^= 1  # one bit behind the code: it would still load
    carried.write_bytes(code)
    description = Engine(load_policy_or_export(report.folder), warmup_runs=0).description
    assert description.startswith("denoiser reference") and "is not what was exported: sha256" in description
    manifest.write_text(json.dumps({**numbers, "version": 1}))
    assert "has no digest of" in Engine(load_policy_or_export(report.folder), warmup_runs=0).description


@pytest.mark.parametrize("name", [MODEL_FILE, INFO_FILE])
def test_an_export_whose_policy_changed_on_its_way_is_refused(loaded: LoadedPolicy, tmp_path: Path, name: str) -> None:
    export_policy(loaded, tmp_path / "export", precision="reference")
    content = bytearray((tmp_path / "export" / name).read_bytes())
    if name == MODEL_FILE:
        content[-1] ^= 1  # the last weight
    else:
        content += b"\n"
    (tmp_path / "export" / name).write_bytes(content)
    changed = load_checkpoint(tmp_path / "export")
    refused = pytest.raises(CheckpointError, match=f"{name} is not what was exported")
    with refused:
        Engine(changed, warmup_runs=0)
    with refused:
        export_policy(changed, tmp_path / "again", precision="reference")


def test_exports_without_digests_are_read(loaded: LoadedPolicy, tmp_path: Path) -> None:
    export_policy(loaded, tmp_path / "export", precision="reference")
    manifest = tmp_path / "export" / RUNTIME_FILE
    numbers = json.loads(manifest.read_text())
    del numbers["files"]
    manifest.write_text(json.dumps(numbers))
    with pytest.raises(CheckpointError, match="damaged: KeyError 'files'"):
        load_policy_or_export(tmp_path / "export")
    manifest.write_text(json.dumps({**numbers, "version": 1}))
    assert load_policy_or_export(tmp_path / "export").policy_id == loaded.policy_id


def test_eight_bits_asked_for_are_tried_though_the_export_has_none(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require("native-int8", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, native_bf16=2.0, native_int8=1.0)
    export_policy(loaded, tmp_path / "export")
    exported = load_policy_or_export(tmp_path / "export")
    assert Engine(exported, warmup_runs=0).description.startswith("denoiser native-bf16")
    assert Engine(exported, warmup_runs=0, runtime="int8").description.startswith("denoiser native-int8")


def test_choice_of_another_processor_is_made_anew(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times(monkeypatch, onednn_fp32=1.0)
    export_policy(loaded, tmp_path / "export")
    monkeypatch.setattr(selection, "processor_name", lambda: "another")
    times(monkeypatch)
    assert Engine(load_policy_or_export(tmp_path / "export"), warmup_runs=0).description.startswith(
        "denoiser reference, encoder reference (measured on another)"
    )


def test_export_of_another_policy_is_refused(
    loaded: LoadedPolicy, small_config: Callable[..., PolicyConfig], tmp_path: Path
) -> None:
    export_policy(loaded, tmp_path / "export", precision="reference")
    other = saved(small_config(), tmp_path / "other", seed=1)
    numbers = json.loads((tmp_path / "export" / RUNTIME_FILE).read_text())
    (other.path / RUNTIME_FILE).write_text(json.dumps(numbers))
    with pytest.raises(CheckpointError, match=f"of policy {loaded.policy_id}"):
        load_policy_or_export(other.path)
    (other.path / RUNTIME_FILE).write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy_or_export(other.path)
    with pytest.raises(CheckpointError, match="the checkpoint itself"):
        export_policy(loaded, loaded.path)
