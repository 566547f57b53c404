import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.policy import ANY_TARGET, Policy, read_policy

INSIDE = ["127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1"]
OUTSIDE = [
    "8.8.8.8",
    "172.15.255.255",
    "172.32.0.1",
    "192.169.0.1",
    "11.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "2001:4860:4860::8888",
    "fe80::1%eth0",
    "::",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_agent_started_by_hand_loads_its_own_machine_and_private_networks(address):
    Policy().admit(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_agent_started_by_hand_loads_nothing_public(address):
    with pytest.raises(PermissionError, match="must not be loaded: the default policy of an agent started by hand"):
        Policy().admit(address)


@settings(deadline=None)
@given(st.ip_addresses())
def test_the_default_policy_knows_an_answer_for_every_address(address):
    inside = address.is_loopback or address.is_private

    try:
        Policy().admit(str(address))
    except PermissionError:
        return
    assert inside


@pytest.mark.parametrize("address", [*INSIDE, *OUTSIDE])
def test_without_a_policy_everything_may_be_loaded(address):
    ANY_TARGET.admit(address)


@pytest.mark.parametrize(
    ("rate", "connections", "words"),
    [
        (100.0, 8, ""),
        (100.1, 8, "100.1 requests/s was asked for: p.toml allows 100 requests/s"),
        (None, 8, "load without a rate was asked for: p.toml allows 100 requests/s"),
        (
            1.0,
            9,
            (
                "9 connections were asked for: p.toml allows 8. Give that many connections, or maxInFlight (1,024 where it "
                "is unset, in open load without connections)"
            ),
        ),
    ],
)
def test_a_ceiling_is_itself_allowed(rate, connections, words):
    policy = Policy(max_rate_per_s=100.0, max_connections=8, source="p.toml")

    assert policy.objection(rate, connections) == words


def test_without_ceilings_any_load_is_allowed():
    assert Policy().objection(None, 10_000) == ""
    assert Policy().objection(1e9, 1) == ""


@pytest.fixture
def policy_of(tmp_path):
    def read(text):
        path = tmp_path / "policy.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_policy(path)

    return read


def test_a_policy_file_says_what_may_be_loaded_and_how_much(policy_of):
    policy = policy_of('networks = ["203.0.113.0/24", "2001:db8::/32"]\nmax_rate_per_s = 50\nmax_connections = 4\n')

    policy.admit("203.0.113.9")
    policy.admit("2001:db8::1")
    with pytest.raises(PermissionError, match=r"policy\.toml allows 203\.0\.113\.0/24, 2001:db8::/32"):
        policy.admit("127.0.0.1")
    assert (policy.max_rate_per_s, policy.max_connections) == (50.0, 4)


def test_an_empty_policy_file_is_the_default_policy(policy_of):
    assert policy_of("").networks == Policy().networks


def test_a_policy_may_forbid_everything(policy_of):
    with pytest.raises(PermissionError, match="allows nothing"):
        policy_of("networks = []").admit("127.0.0.1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("networks = [", "not a policy"),
        (b"\xff\xfe", "not a policy"),
        ('network = ["10.0.0.0/8"]', "unknown key 'network': expected networks, max_rate_per_s or max_connections"),
        ('networks = ["10.0.0.1/8"]', "host bits set"),
        ('networks = ["example.org"]', "does not appear to be an IPv4 or IPv6 network"),
        ("networks = 5", "not a policy"),
        ("networks = [1.5]", "not a policy"),
        ('networks = "10.0.0.0/8"', "not a policy"),
        ("max_rate_per_s = 0", "max_rate_per_s: expected a number above 0, got 0"),
        ("max_rate_per_s = true", "expected a number above 0, got True"),
        ('max_rate_per_s = "fast"', "expected a number above 0, got 'fast'"),
        ("max_rate_per_s = nan", "expected a number above 0"),
        ("max_connections = 2.5", "max_connections: expected a whole number, got 2.5"),
        ("max_connections = inf", "max_connections: expected a number above 0, got inf"),
        ("max_connections = -1", "max_connections: expected a number above 0, got -1"),
    ],
)
def test_a_mistake_in_a_policy_file_is_refused_with_the_files_name(policy_of, text, words):
    with pytest.raises(AgentError) as refused:
        policy_of(text)

    assert "policy.toml" in str(refused.value)
    assert words in str(refused.value)


def test_a_policy_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(AgentError, match=r"none\.toml: not a policy: .*No such file"):
        read_policy(tmp_path / "none.toml")
