"""Speaks to a fabric as any Python program would: grpcio, and messages made from what the server's reflection tells.

usage: client.py SOCKET DESCRIPTOR_SET
DESCRIPTOR_SET holds the serialized FileDescriptorSet of the reflection service itself, which everything begins with.
"""

import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

socket, descriptors = sys.argv[1:]
pool = descriptor_pool.DescriptorPool()
NETWORK = "forge.network.v1"


def message(name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def reflect(channel, package, **question):
    """Asks the reflection service one question."""
    request, response = (message(f"{package}.ServerReflection{kind}") for kind in ("Request", "Response"))
    call = channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    return next(iter(call(iter([request(**question)]))))


def call(channel, method, **fields):
    """Calls a method of the network manager with a request of these fields."""
    found = pool.FindMethodByName(f"{NETWORK}.NetworkManager.{method}")
    request, response = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
    return channel.unary_unary(
        f"/{NETWORK}.NetworkManager/{method}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )(request(**fields), timeout=10)


def refused(code, words, channel, method, **fields):
    try:
        call(channel, method, **fields)
    except grpc.RpcError as error:
        assert error.code() == code, error
        assert words in error.details(), error
    else:
        raise AssertionError(f"{method} was not refused")


with open(descriptors, "rb") as file:
    for described in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
        if described.name.startswith("grpc/"):
            pool.Add(described)

with grpc.insecure_channel(f"unix:{socket}") as channel:
    for version in ("v1", "v1alpha"):
        listed = reflect(channel, f"grpc.reflection.{version}", list_services="")
        assert f"{NETWORK}.NetworkManager" in [s.name for s in listed.list_services_response.service], listed
    files = reflect(channel, "grpc.reflection.v1", file_containing_symbol=f"{NETWORK}.NetworkManager")
    described = [
        descriptor_pb2.FileDescriptorProto.FromString(bytes)
        for bytes in files.file_descriptor_response.file_descriptor_proto
    ]
    while described:
        # A pool wants what is imported before what imports it.
        for file in described:
            if not {other.name for other in described} & set(file.dependency):
                pool.Add(file)
                described.remove(file)
                break

    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=message("grpc.health.v1.HealthCheckRequest").SerializeToString,
        response_deserializer=message("grpc.health.v1.HealthCheckResponse").FromString,
    )
    assert check(message("grpc.health.v1.HealthCheckRequest")(service="")).status == 1

    made = call(channel, "CreateVNet", name="python", subnets=["10.78.0.0/24"], labels={"by": "python"}).vnet
    assert made.gateways[0] == "10.78.0.1", made
    assert call(channel, "GetVNet", name=made.id[:12]).vnet == made
    assert [vnet.name for vnet in call(channel, "ListVNets").vnets] == ["python"]
    assert call(channel, "SetupBridge", vnet="python").addresses[0] == "10.78.0.1/24"
    refused(grpc.StatusCode.ALREADY_EXISTS, '"python"', channel, "CreateVNet", name="python")
    refused(grpc.StatusCode.INVALID_ARGUMENT, '"10.0.0.1/8"', channel, "CreateVNet", name="x", subnets=["10.0.0.1/8"])
    refused(grpc.StatusCode.NOT_FOUND, '"nowhere"', channel, "GetVNet", name="nowhere")
    refused(grpc.StatusCode.INVALID_ARGUMENT, "p.yaml:2", channel, "ApplyFirewall",
            document="policy: p\nwrong: 1\n", document_name="p.yaml")

    # More calls at once than the server takes at a time: the others wait.
    calls = [channel.unary_unary(f"/{NETWORK}.NetworkManager/GetStatus").future(b"") for _ in range(300)]
    assert all(answer.result() for answer in calls)
    call(channel, "DeleteVNet", name="python")
    assert not call(channel, "ListVNets").vnets

# grpcio names the socket's path as the authority, percent-encoded; older ones and proxies do otherwise.
for authority in ("localhost", "%2Frun%2Fforge.sock", "/run/forge.sock", "forge"):
    with grpc.insecure_channel(f"unix:{socket}", options=[("grpc.default_authority", authority)]) as channel:
        assert call(channel, "GetStatus").version, authority

print("ok")
