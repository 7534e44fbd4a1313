"""What pods in machines and in containers have in common."""

from ipaddress import IPv4Address

import pytest

from stage1.commands.arguments import parse_run
from stage1.commands.container_pod import ContainerPod
from stage1.commands.guest_pod import GuestPod
from stage1.commands.machine_pod import MachinePod
from stage1.host.errors import UserError
from stage1.network.setup import PodNetwork
from stage1.pod.guest_settings import GuestSettings

UUID = "5e3b9f0c-6d5c-4b6e-8d11-3c6a1f0e7a55"


@pytest.mark.parametrize("kind", [MachinePod(), ContainerPod()])
def test_a_guest_without_networks(kind: GuestPod) -> None:
    def requests(net: list[str], settings: GuestSettings) -> list[str]:
        return [request.name for request in kind.requests(parse_run([*net, UUID]), settings)]

    without = GuestSettings(network=False)
    for words in (["--net=default"], ["--net=none"], []):
        assert requests(words, without) == []
    assert requests(["--net=default"], GuestSettings()) == ["default"]
    with pytest.raises(UserError, match="--net: this stage1 was built without networks"):
        requests(["--net=default,user"], without)


def test_the_network_of_the_host() -> None:
    arguments = parse_run(["--net=host", UUID])
    for settings in (GuestSettings(), GuestSettings(network=False)):
        assert ContainerPod().requests(arguments, settings) == ()
        with pytest.raises(UserError, match="--net=host"):
            MachinePod().requests(arguments, settings)
    assert ContainerPod().host_ip(arguments, PodNetwork(())) == IPv4Address("127.0.0.1")
    assert ContainerPod().host_ip(parse_run([UUID]), PodNetwork(())) is None
