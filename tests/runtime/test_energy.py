"""Energy: counters where they can be read, and estimates that say that they are some."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.energy import Counters, Meter, busy_watts, from_cpu_time, nvml, rapl, remote_joules


def no_gpu() -> Counters:
    return Counters({}, {})


def counter(root: Path, name: str, part: str, microjoules: int) -> Path:
    """One RAPL domain as the kernel shows it."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(part + "\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_and_memory_are_read_and_what_they_contain_is_not(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    counter(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    counter(tmp_path, "intel-rapl:0:1", "dram", 1_000_000)
    counter(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    assert sorted(rapl(tmp_path).joules.values()) == [1.0, 5.0]


def test_a_measured_figure_names_its_counters(tmp_path: Path) -> None:
    file = counter(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    meter = Meter(tmp_path, no_gpu)
    file.write_text("9500000\n")
    figure = meter.stop()
    assert figure.value == pytest.approx(4.5)
    assert figure.how == "measured"
    assert "package-0" in figure.source


def test_a_counter_that_wrapped_is_unwrapped(tmp_path: Path) -> None:
    file = counter(tmp_path, "intel-rapl:0", "package-0", 262_143_000_000)
    meter = Meter(tmp_path, no_gpu)
    file.write_text("1671150\n")
    assert meter.stop().value == pytest.approx(2.0)


def test_without_counters_it_is_an_estimate_from_cpu_time_that_says_so(tmp_path: Path) -> None:
    figure = Meter(tmp_path / "absent", no_gpu).stop()
    assert figure.how == "estimated"
    assert figure.value is not None
    assert figure.value >= 0.0
    assert "TDP" in figure.source
    assert from_cpu_time(4.0, 5.0).value == pytest.approx(20.0)


def test_a_gpu_is_added_to_an_estimated_processor_and_named(tmp_path: Path) -> None:
    readings = [Counters({"NVML GPU 0": 100.0}, {}), Counters({"NVML GPU 0": 160.0}, {})]
    meter = Meter(tmp_path / "absent", lambda: readings.pop(0))
    figure = meter.stop()
    assert figure.how == "estimated"
    assert (figure.value or 0.0) >= 60.0
    assert "NVML GPU 0 measured: 60.0 J" in figure.source


def test_counters_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", 1).write_text("not a number\n")
    assert rapl(tmp_path).joules == {}


def test_power_is_measured_under_load_where_that_can_be_read(tmp_path: Path) -> None:
    file = counter(tmp_path, "intel-rapl:0", "package-0", 0)
    clock = iter([10.0, 10.5])

    def load(seconds: float) -> None:
        file.write_text("20000000\n")

    watts = busy_watts(2, root=tmp_path, load=load, clock=lambda: next(clock))
    assert watts.value == pytest.approx(40.0)
    assert watts.how == "measured"


def test_power_is_a_stated_share_of_a_tdp_elsewhere(tmp_path: Path) -> None:
    watts = busy_watts(4, root=tmp_path / "absent")
    assert watts.value == pytest.approx(25.0)
    assert watts.how == "estimated"
    assert "350 W / 56 cores" in watts.source


def test_the_remote_side_is_an_assumption_with_its_source() -> None:
    figure = remote_joules(10)
    assert figure.value == pytest.approx(8640.0)
    assert figure.how == "assumed"
    assert "2508.15734" in figure.source


def test_reading_the_gpus_never_fails() -> None:
    assert all(joules >= 0 for joules in nvml().joules.values())
