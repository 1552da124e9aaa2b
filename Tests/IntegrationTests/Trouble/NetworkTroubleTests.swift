import LabSupport
import Namespaces
import Testing

@Suite(.enabled(if: Lab.isAvailable(), "needs a lab")) struct NetworkTroubleTests {
    static let label = "must be a DNS label: 1 to 63 of a-z, 0-9 and '-', not '-' at either end"
    static let long = String(repeating: "a", count: 64)

    /// Each names the field and the value. There is a network `shop`, 10.77.0.0/24 and fd77::/64.
    static let refusals = [
        Refusal("network create shop", "network \"shop\" exists already"),
        Refusal("network create Shop", "name \"Shop\": \(label)"),
        Refusal("network create a.b", "name \"a.b\": \(label)"),
        Refusal("network create -- -a", "name \"-a\": \(label)"),
        Refusal("network create ''", "name \"\": \(label)"),
        Refusal("network create \(long)", "name \"\(long)\": \(label)"),
        Refusal(
            "network create a --subnet 10.77.0.128/25",
            "subnet \"10.77.0.128/25\": overlaps 10.77.0.0/24 of network shop"),
        Refusal(
            "network create a --subnet 10.0.0.0/8",
            "subnet \"10.0.0.0/8\": overlaps 10.77.0.0/24 of network shop"),
        Refusal(
            "network create a --subnet fd77::/48", "subnet \"fd77::/48\": overlaps fd77::/64 of network shop"
        ),
        Refusal(
            "network create a --subnet 10.1.0.5/24",
            "subnet \"10.1.0.5/24\": host bits are set; the network is 10.1.0.0/24"),
        Refusal(
            "network create a --subnet fd01::1/64",
            "subnet \"fd01::1/64\": host bits are set; the network is fd01::/64"),
        Refusal(
            "network create a --subnet 10.1.0.0/33",
            "subnet \"10.1.0.0/33\": the prefix length must be a number from 0 to 32"),
        Refusal(
            "network create a --subnet 10.1.0.0/31",
            "subnet \"10.1.0.0/31\": the prefix of an IPv4 subnet must be 8 to 30 bits"),
        Refusal(
            "network create a --subnet hello",
            "subnet \"hello\": expected an address and a prefix length such as 10.0.0.0/24"),
        Refusal(
            "network create a --subnet 127.0.0.0/24",
            "subnet \"127.0.0.0/24\": contains loopback addresses (127.0.0.0/8)"),
        Refusal(
            "network create a --subnet 10.1.0.0/24 --subnet 10.1.0.0/25",
            "subnet \"10.1.0.0/25\": overlaps 10.1.0.0/24 of the same network"),
        Refusal(
            "network create a --subnet 10.1.0.0/24 --subnet 10.2.0.0/24",
            "subnet \"10.2.0.0/24\": is one IPv4 subnet too many beside 10.1.0.0/24 of the same network"),
        Refusal(
            "network create a --dns --dns-upstream hello",
            "dns upstream \"hello\": neither an IPv4 nor an IPv6 address"),
        Refusal(
            "network create a --subnet 10.1.0.0/24 --dns --dns-upstream 10.1.0.1:53",
            "dns upstream \"10.1.0.1\": is the network's own resolver"),
        Refusal(
            "network create a --dns --dns-upstream 224.0.0.251",
            "dns upstream \"224.0.0.251\": is nobody's address"),
        Refusal("network create a --mtu 1279", "mtu \"1279\": IPv6 needs at least 1280 bytes"),
        Refusal("network create a --mtu 0", "mtu \"0\": IPv6 needs at least 1280 bytes"),
        Refusal("network create a --mtu 65536", "mtu \"65536\": must be at most 65535"),
        Refusal("network create a --mtu big", "The value 'big' is invalid for '--mtu <mtu>'"),
        Refusal(
            "network create a --isolation half",
            "The value 'half' is invalid for '--isolation <isolation>'. "
                + "Please provide one of 'full', 'peer-only', 'mesh-only' or 'none'."),
        Refusal("network create a --label tier", "label \"tier\": expected key=value"),
        Refusal("network create a --label a=b --label a=c", "label \"a=c\": the key is given twice"),
        Refusal("network inspect nope --no", "Unknown option '--no'"),
        Refusal("network rm nope", "no such network: \"nope\""),
        Refusal("network rm", "Missing expected argument '<names> ...'"),
    ]

    @Test(arguments: anyOwner)
    func `bad networks are refused in one line, and nothing of them is made`(
        owner: FabricFixture.Owner
    ) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        try fabric.succeed("network create shop --subnet 10.77.0.0/24 --subnet fd77::/64")
        let links = try fabric.inside("ip", "-o", "link").output
        for refusal in Self.refusals { try fabric.refuse(refusal) }
        let names = try fabric.succeed("network ls --format json")
        #expect(names.split(separator: "\n").count { $0.contains("\"name\"") } == 1)
        #expect(try fabric.inside("ip", "-o", "link").output == links)
    }

    @Test(arguments: owners)
    func `a network that has endpoints is removed by force alone`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up(network: "shop")
        let containers = try Containers(fabric, 1)
        try fabric.succeed("attach --network shop --container c1 --pid \(containers.pids[0])")
        try fabric.refuse("network rm shop", "network \"shop\": has 1 endpoint; release them or force it")
        #expect(try containers.interfaces(0) == ["lo", "eth0"])
        #expect(try fabric.succeed("network rm shop --force") == "shop\n")
        #expect(try containers.interfaces(0) == ["lo"])
        #expect(try fabric.tracesOfEndpoints() == "")
        #expect(try fabric.succeed("network ls -q") == "")
        #expect(try fabric.succeed("endpoint ls -q") == "")
    }

    @Test(arguments: anyOwner)
    func `several names are each done or refused by themselves`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        for name in ["one", "two", "three"] { try fabric.succeed("network create \(name)") }
        let removed = try fabric.forge(line: "network rm one nope two nix")
        #expect(removed.status.code == 125)
        #expect(removed.output == "one\ntwo\n")
        #expect(
            removed.errors == "forge: no such network: \"nope\"\nforge: no such network: \"nix\"\n")
        let shown = try fabric.forge(line: "network inspect nope three")
        #expect(shown.status.code == 125)
        #expect(shown.output.contains("\"name\": \"three\""))
        #expect(shown.errors == "forge: no such network: \"nope\"\n")
        #expect(try fabric.succeed("network ls").split(separator: "\n").count == 2)
    }
}
