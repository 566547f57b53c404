import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from agent import machine
from agent.machine import Machinery, Throttling, cgroup_of, ports_in, quota_v1, quota_v2, throttling

V2 = "26 24 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "30 25 0:26 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd\n"
    "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
)
DOCKER = "700 690 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
STAT_V2 = "usage_usec 9182\nnr_periods 40\nnr_throttled {}\nthrottled_usec {}\nnr_bursts 0\n"
STAT_V1 = "nr_periods 40\nnr_throttled {}\nthrottled_time {}\n"


def folders(cgroup, mountinfo):
    found = cgroup_of(cgroup, mountinfo)
    return found and (found.version, [str(folder) for folder in found.folders])


def test_a_group_of_version_2_is_looked_for_up_to_the_root():
    assert folders("0::/kube.slice/pod7/agent\n", V2) == (
        2,
        [
            "/sys/fs/cgroup/kube.slice/pod7/agent",
            "/sys/fs/cgroup/kube.slice/pod7",
            "/sys/fs/cgroup/kube.slice",
            "/sys/fs/cgroup",
        ],
    )


def test_a_group_of_version_1_is_that_of_the_cpu_controller():
    cgroup = "4:memory:/other\n3:cpu,cpuacct:/user.slice/job\n1:name=systemd:/init\n"

    assert folders(cgroup, V1) == (
        1,
        [f"/sys/fs/cgroup/cpu,cpuacct{below}" for below in ("/user.slice/job", "/user.slice", "")],
    )


def test_where_both_versions_are_mounted_the_one_with_a_cpu_controller_counts():
    assert folders("1:cpu,cpuacct:/job\n0::/other\n", HYBRID)[0] == 1
    assert folders("1:name=systemd:/job\n0::/other\n", HYBRID) == (
        2,
        ["/sys/fs/cgroup/unified/other", "/sys/fs/cgroup/unified"],
    )


def test_a_container_that_sees_its_own_group_as_the_mount_finds_it_there():
    assert folders("3:cpu,cpuacct:/docker/abc\n", DOCKER) == (1, ["/sys/fs/cgroup/cpu,cpuacct"])
    assert folders("3:cpu,cpuacct:/docker/abc/inner\n", DOCKER) == (
        1,
        ["/sys/fs/cgroup/cpu,cpuacct/inner", "/sys/fs/cgroup/cpu,cpuacct"],
    )


@pytest.mark.parametrize("path", ["/../sibling", "/elsewhere"])
def test_a_group_that_is_not_below_the_mount_does_not_lead_out_of_it(path):
    assert folders(f"3:cpu,cpuacct:{path}\n", DOCKER) == (1, ["/sys/fs/cgroup/cpu,cpuacct"])
    assert folders("0::/../sibling\n", V2) == (2, ["/sys/fs/cgroup"])


def test_a_mount_point_with_a_space_is_found():
    assert folders("0::/\n", V2.replace("/sys/fs/cgroup", "/my\\040groups")) == (2, ["/my groups"])


@pytest.mark.parametrize(
    ("cgroup", "mountinfo"), [("", ""), ("0::/job\n", V1), ("3:cpu:/job\n", V2), ("nonsense", "more nonsense - of it")]
)
def test_without_a_group_there_is_none(cgroup, mountinfo):
    assert cgroup_of(cgroup, mountinfo) is None


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", 0), ("150000 100000\n", 1.5), ("5000 100000", 0.05), ("", 0), ("7 0", 0)]
)
def test_the_quota_of_version_2(text, cores):
    assert quota_v2(text) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"), [("-1\n", "100000\n", 0), ("50000\n", "100000\n", 0.5), ("", "", 0)]
)
def test_the_quota_of_version_1(quota, period, cores):
    assert quota_v1(quota, period) == cores


def test_throttling_is_in_nanoseconds_in_both_versions():
    assert throttling(STAT_V2.format(7, 1234)) == Throttling(7, 1_234_000)
    assert throttling(STAT_V1.format(7, 1234)) == Throttling(7, 1234)
    assert throttling("usage_usec 5\n") == throttling("") == Throttling()


def test_the_range_of_ports_counts_both_ends():
    assert ports_in("32768\t60999\n") == 28232
    assert ports_in("") == ports_in("-1 5") == 0


class FakeFiles:
    """/proc and the cgroup files of an agent in a pod: the pod has the quota, and the container none."""

    def __init__(self):
        self.texts = {
            "/proc/self/cgroup": "0::/pod/agent\n",
            "/proc/self/mountinfo": V2,
            "/proc/sys/net/ipv4/ip_local_port_range": "1024 2047\n",
            "/proc/self/statm": "9000 300 10 1 0 50 0\n",
            "/sys/fs/cgroup/pod/agent/cpu.max": "max 100000\n",
            "/sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
        }
        self.throttle(0, 0)

    def throttle(self, count, us):
        self.texts["/sys/fs/cgroup/pod/agent/cpu.stat"] = STAT_V2.format(0, 0)
        self.texts["/sys/fs/cgroup/pod/cpu.stat"] = STAT_V2.format(count, us)

    def __call__(self, path):
        if str(path) not in self.texts:
            raise FileNotFoundError(path)
        return self.texts[str(path)]


def test_an_interval_has_what_came_since_the_last_one():
    files = FakeFiles()
    files.throttle(100, 1_000_000)
    gauges = Machinery(files)
    files.throttle(103, 1_250_000)
    first = gauges.interval(ports=8)
    files.throttle(104, 1_260_000)
    second = gauges.interval(ports=5)
    third = gauges.interval(ports=5)
    total = gauges.total(ports=5)

    assert [(one.throttled, one.throttled_ns) for one in (first, second, third, total)] == [
        (3, 250_000_000),
        (1, 10_000_000),
        (0, 0),
        (4, 260_000_000),
    ]
    assert [first.ports, second.ports, total.ports] == [8, 5, 8]


def test_the_smallest_quota_on_the_way_to_the_root_holds():
    files = FakeFiles()
    files.texts["/sys/fs/cgroup/cpu.max"] = "800000 100000\n"

    assert Machinery(files).interval().cpu_quota == 1.5


def test_the_limits_and_the_memory_are_told():
    found = Machinery(FakeFiles()).interval()

    assert found.ports_limit == 1024
    assert found.rss == 300 * resource.getpagesize()
    assert found.files_limit == machine.files_limit() > 0


def test_counters_that_begin_anew_count_nothing():
    files = FakeFiles()
    files.throttle(100, 1000)
    gauges = Machinery(files)
    files.throttle(1, 10)

    assert gauges.interval().throttled == 0


def test_without_proc_what_is_unknown_is_0():
    def nothing(path: Path) -> str:
        raise FileNotFoundError(path)

    found = Machinery(nothing).interval(ports=2)

    assert (found.throttled, found.throttled_ns, found.cpu_quota, found.ports_limit) == (0, 0, 0.0, 0)
    assert found.ports == 2
    assert found.rss > 1_000_000  # the peak, by getrusage


def test_descriptors_are_counted_as_they_open():
    before = machine.files_open()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
    now = machine.files_open()
    for one in opened:
        os.close(one)

    assert now - before == 50


OLD_KERNEL = """
import os, resource
from pathlib import Path
from agent import machine
machine._PROC = Path("/nowhere")
opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
print(machine.files_open() - opened[-1])
resource.setrlimit(resource.RLIMIT_NOFILE, (opened[-1] + 1, 4096))
print(machine.files_open() - opened[-1])
"""
RAISING = """
import resource
from agent.machine import raise_files_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
print(raise_files_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_files_limit())
"""


def said(program):
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_where_the_kernel_does_not_tell_the_lowest_free_descriptor_does():
    assert said(OLD_KERNEL).split() == ["1", "1"]


def test_the_limit_of_files_is_raised_as_far_as_it_goes():
    assert said(RAISING).splitlines() == ["512 (512, 512)", "512"]
